"""How far a sink has stored the deliveries of its session, and the error that ends it."""

from __future__ import annotations

import asyncio


class Progress:
    """A number that only grows, and the first error. `acknowledged` is that of `base.Sink`.

    What takes messages calls `check` first: the first error ends the session.
    """

    def __init__(self) -> None:
        self.durable = 0
        """The delivery number up to which everything is durable."""
        self.failure: BaseException | None = None
        self._returned = 0
        self._changed = asyncio.Event()

    def move(self, number: int) -> None:
        """Everything up to this delivery is durable."""
        self.durable = number
        self._changed.set()

    def fail(self, error: BaseException) -> BaseException:
        """The first error counts, and is returned: those after it mostly say that something went wrong before."""
        first = self.failure = error if self.failure is None else self.failure
        self._changed.set()
        return first

    def check(self) -> None:
        """Raise what went wrong."""
        if self.failure is not None:
            raise self.failure

    async def acknowledged(self) -> int:
        """Wait until more is durable than the last call said. What is durable comes before the error."""
        while self.durable == self._returned:
            self.check()
            self._changed.clear()
            await self._changed.wait()
        self._returned = self.durable
        return self.durable
