"""One connection, on which answers come in the order of the commands: as many as one likes are under way.

redis-py makes the connection (TLS, users, sockets), sends bytes and reads answers; Ditto says what is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from redis import exceptions

from ditto.errors import AckTimeout, SinkError, SinkLost
from ditto.sinks.redis.frames import Buffer, command
from ditto.sinks.redis.server_errors import answered, unreachable

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ditto.sinks.redis.access import Access

_LOOK_PERIOD_S: Final = 0.5


class OnAnswer(Protocol):
    """Takes the answer to a command, or the error."""

    def __call__(self, answer: Any, error: SinkError | None) -> None: ...


class Wire:
    """`where` is what messages call the server; nothing is sent again, and the first fault ends it."""

    def __init__(
        self,
        connection: AbstractConnection,
        *,
        where: str,
        access: Access,
        timeout_s: float,
        clock: Callable[[], float],
        on_failure: Callable[[SinkError], object],
    ) -> None:
        self._connection = connection
        self.where = where
        self.access = access
        self._timeout_s = timeout_s
        self._clock = clock
        self._on_failure = on_failure
        self.failure: SinkError | None = None
        self._unsent: list[Buffer] = []
        self._has_more = asyncio.Event()
        self._unanswered: deque[tuple[str, Sequence[bytes], float, OnAnswer]] = deque()
        self._answered_at = 0.0
        self._tasks = [
            asyncio.create_task(task, name=f"redis-{name}")
            for name, task in (("send", self._send()), ("read", self._read()), ("watch", self._watch()))
        ]

    def post(self, parts: Sequence[Buffer], doing: str, on_answer: OnAnswer, *, keys: Sequence[bytes]) -> None:
        """Send a command for these keys soon, behind those before. Raises what ended the connection."""
        if self.failure is not None:
            raise self.failure
        self._unsent += parts
        self._unanswered.append((doing, keys, self._clock(), on_answer))
        self._has_more.set()

    async def ask(self, doing: str, *arguments: Buffer | str | int) -> Any:
        """Send one command, and wait for its answer."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_answer(answer: Any, error: SinkError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)

        texts = [each if isinstance(each, bytes | bytearray | memoryview) else str(each).encode() for each in arguments]
        self.post(command(*texts), doing, on_answer, keys=_keys(texts))
        return await future

    async def _send(self) -> None:
        while True:
            await self._has_more.wait()
            self._has_more.clear()
            parts, self._unsent = self._unsent, []
            try:
                await self._connection.send_packed_command(cast("list[bytes]", parts), check_health=False)
            except (exceptions.RedisError, OSError) as error:
                self._fail(unreachable(error, self.where))
                return

    async def _read(self) -> None:
        while True:
            try:
                answer = await self._connection.read_response(disable_decoding=True)
            except exceptions.ConnectionError as error:
                if not error.status_code:
                    self._fail(unreachable(error, self.where))
                    return
                answer = error  # an error answer: LOADING, READONLY
            except exceptions.ResponseError as error:
                answer = error
            except (exceptions.RedisError, OSError) as error:
                self._fail(unreachable(error, self.where))
                return
            if not self._unanswered:
                self._fail(SinkLost(f"{self.where}: an answer came to nothing that was asked"))
                return
            doing, keys, _, on_answer = self._unanswered.popleft()
            self._answered_at = self._clock()
            if isinstance(answer, exceptions.RedisError):
                named = [key.decode(errors="replace") for key in keys]
                on_answer(None, answered(answer, self.where, doing, access=self.access, keys=named))
            else:
                on_answer(answer, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_PERIOD_S)
            if not self._unanswered:
                continue
            doing, _, sent_at, _ = self._unanswered[0]
            if self._clock() - max(sent_at, self._answered_at) >= self._timeout_s:
                self._fail(
                    AckTimeout(
                        f"{self.where} has not answered for {self._timeout_s:g} s (to {doing})",
                        hint="look at the server's load and disk (SLOWLOG, LATENCY DOCTOR, appendfsync)",
                    )
                )
                return

    def _fail(self, error: SinkError) -> None:
        if self.failure is not None:
            return
        self.failure = error
        while self._unanswered:
            *_, on_answer = self._unanswered.popleft()
            on_answer(None, error)
        self._on_failure(error)

    async def close(self) -> None:
        """What was sent may still be stored."""
        self._fail(SinkLost(f"the connection to {self.where} was closed"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(exceptions.RedisError, OSError):
            await self._connection.disconnect(nowait=True)


def _keys(command: Sequence[Buffer]) -> Sequence[bytes]:
    """Of a command that is waited for: each of Ditto's has one key, or none."""
    name = bytes(command[0])
    if name == b"EVAL":
        return [bytes(each) for each in command[3 : 3 + int(bytes(command[2]))]]
    if name == b"XREAD":  # COUNT n STREAMS, as many keys as ids
        return [bytes(each) for each in command[4 : 4 + (len(command) - 4) // 2]]
    return [] if name in {b"SCRIPT", b"INFO", b"CONFIG", b"ACL"} else [bytes(each) for each in command[1:2]]
