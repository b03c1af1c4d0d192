"""COPY … TO STDOUT on a connection of psycopg's, below psycopg: its blocks go into `Rows` as libpq has them."""

from __future__ import annotations

import asyncio
from typing import Final

from psycopg import OperationalError
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from ditto.decoding.snapshot_rows import Rows
from ditto.errors import ConnectionLost
from ditto.source.command_errors import Answer
from ditto.source.socket_wait import Readable

_BLOCK_BYTES: Final = 256 << 10
"""So much is read between two moments at which other tasks run: about a millisecond's work."""
_MUCH_BYTES: Final = 8 << 10
_PAUSE_S: Final = 0.001
"""Where rows come fast, more of them are let gather before they are read: PostgreSQL sends 8 KB at a time, and Ditto
would wake up for each. With it Ditto took 0.67 µs of CPU a row instead of 0.74, PostgreSQL 0.59 instead of 0.61."""
SILENCE_LIMIT_S: Final = 60.0


class CopyFailed(Exception):
    """The server answered with an error; the connection is ready for the next statement."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.answer = answer


class CopyOut:
    """One COPY, from start() to its end; or to the end of the connection: it is never cancelled."""

    def __init__(self, pgconn: PGconn, *, silence_limit_s: float = SILENCE_LIMIT_S) -> None:
        self._pgconn = pgconn
        self._readable = Readable(pgconn.socket)
        self._silence_limit_s = silence_limit_s
        self.is_ended = False
        """The last row was read, and the server has said that there was no error."""

    async def start(self, query: str) -> None:
        """Send it, in the extended protocol, which takes one statement only. Raises ConnectionLost, CopyFailed."""
        try:
            self._pgconn.send_query_params(query.encode(), None)
            while self._pgconn.flush():  # noqa: ASYNC110  a few kilobytes; it practically never loops
                await asyncio.sleep(0.005)
            result = await self._result()
        except OperationalError as error:
            raise _broken() from error
        finally:
            self._readable.close()
        if result is None or result.status != ExecStatus.COPY_OUT:
            await self._fail(result)

    async def read(self, rows: Rows, *, max_bytes: int) -> None:
        """Add rows until the end, or until `rows` has about `max_bytes` bytes. Raises ConnectionLost, CopyFailed."""
        try:
            while not self.is_ended and rows.size < max_bytes:
                size = rows.size
                if rows.read(self._pgconn, max_bytes=min(_BLOCK_BYTES, max_bytes - rows.size)):
                    await self._end()
                elif rows.is_drained:
                    await self._wait()
                    if rows.size - size >= _MUCH_BYTES:
                        await asyncio.sleep(_PAUSE_S)
                else:
                    await asyncio.sleep(0)
        except OperationalError as error:
            raise _broken() from error
        finally:
            self._readable.close()

    async def _end(self) -> None:
        result = await self._result()
        if result is None or result.status != ExecStatus.COMMAND_OK:
            await self._fail(result)
        while await self._result() is not None:
            pass
        self.is_ended = True

    async def _fail(self, result: PGresult | None) -> None:
        answer = Answer.of_result(result, self._pgconn)
        if result is None:
            raise _broken()
        while await self._result() is not None:
            pass
        self.is_ended = True
        raise CopyFailed(answer)

    async def _result(self) -> PGresult | None:
        while self._pgconn.is_busy():
            await self._wait()
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    async def _wait(self) -> None:
        if not await self._readable.wait(self._silence_limit_s):
            raise ConnectionLost(f"cannot read rows: no answer within {self._silence_limit_s:g} s")


def _broken() -> ConnectionLost:
    return ConnectionLost("the connection that reads rows broke")
