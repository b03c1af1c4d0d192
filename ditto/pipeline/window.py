"""The window: what was sent and is not yet acknowledged. Reading pauses while it is full."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable


class Window:
    """Counts the deliveries of one session, from number 1 on.

    `flush` lets the sink acknowledge everything that was sent (`Sink.flush`); without it fewer than `ack_interval`
    messages may wait for ever. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        *,
        max_count: int,
        max_bytes: int,
        ack_interval: Callable[[], int],
        flush: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._ack_interval = ack_interval
        self._flush = flush
        self._clock = clock
        self._sizes: deque[tuple[int, int]] = deque()  # number of a batch's last message, and the batch's bytes
        self._moved = asyncio.Event()
        self.sent = 0
        """The number of the last delivery that was sent."""
        self.acknowledged = 0
        """The number up to which everything is durable."""
        self.outstanding_bytes = 0
        """Bytes of payload in batches that are not acknowledged completely."""
        self.waited_s = 0.0
        """Seconds that batches have waited for room."""

    @property
    def outstanding_count(self) -> int:
        """Messages sent and not yet acknowledged."""
        return self.sent - self.acknowledged

    def has_room(self, count: int, size: int) -> bool:
        """Whether so many messages of so many bytes fit; a batch of any size fits into an empty window."""
        outstanding = self.sent - self.acknowledged
        return not outstanding or (
            outstanding + count <= self._max_count and self.outstanding_bytes + size <= self._max_bytes
        )

    async def wait_for_few(self, count: int, size: int) -> None:
        """Wait until no more than so many messages of so many bytes are outstanding."""

        def are_few() -> bool:
            return self.outstanding_count <= count and self.outstanding_bytes <= size

        while not are_few():
            self._moved.clear()
            if self.outstanding_count < self._ack_interval():
                await self._flush()
            if not are_few():
                await self._moved.wait()

    async def wait_for_room(self, count: int, size: int) -> None:
        """Wait until they do."""
        if self.has_room(count, size):
            return
        began_at = self._clock()
        while not self.has_room(count, size):
            self._moved.clear()
            if self.outstanding_count < self._ack_interval():
                await self._flush()
            if not self.has_room(count, size):
                await self._moved.wait()
        self.waited_s += self._clock() - began_at

    def add(self, count: int, size: int) -> None:
        """So many messages of so many bytes were sent, numbered from `sent + 1` on.

        Only now, when the sink has taken them: a session that is asked to stop while the sink makes them wait must not
        wait for messages that nobody has sent.
        """
        self.sent += count
        self.outstanding_bytes += size
        self._sizes.append((self.sent, size))

    def acknowledge(self, number: int) -> None:
        """Everything up to this number is durable."""
        self.acknowledged = number
        while self._sizes and self._sizes[0][0] <= number:
            self.outstanding_bytes -= self._sizes.popleft()[1]
        self._moved.set()

    async def settle(self) -> None:
        """Wait until everything that was sent is durable."""
        while self.outstanding_count:
            self._moved.clear()
            await self._flush()
            if self.outstanding_count:
                await self._moved.wait()
