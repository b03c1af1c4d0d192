"""A TCP proxy on loopback that misbehaves on command."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

CHUNK_BYTES = 16 * 1024


class Proxy:
    """Stands between Ditto and a server on 127.0.0.1. What it does may be changed at any time.

    `delay_s` holds every piece back; `is_silent` swallows all that comes, from both sides, while connections stay
    open and new ones are accepted; `freeze` does so to those that are open only; `cut_later` breaks connections in
    the middle of what a server or client says; new connections go to `target_port`; `replaced` is what takes the place
    of what in each piece that a server sends.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.is_silent = False
        self.connection_count = 0
        self.swallowed_bytes = 0
        self.target_port = target_port
        self.replaced: tuple[bytes, bytes] | None = None
        self._budgets: dict[str, int | None] = {"from_server": None, "from_client": None}
        self._writers: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "the proxy runs"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None, "the proxy runs"
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Swallow from now on all that comes over the connections that are open; new ones work."""
        self._frozen |= self._writers

    def cut(self) -> None:
        """Break all connections now, without a farewell."""
        for writer in self._writers:
            writer.transport.abort()

    def cut_later(self, *, from_server: int | None = None, from_client: int | None = None) -> None:
        """Forward that many bytes more in the given direction, then break all connections. Works once."""
        self._budgets = {"from_server": from_server, "from_client": from_client}

    @property
    def has_cut(self) -> bool:
        """Whether what `cut_later` asked for is done."""
        return all(budget is None for budget in self._budgets.values())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        task = asyncio.current_task()
        assert task is not None, "asyncio runs this in a task"
        self._tasks.add(task)
        self._writers.add(writer)  # at once: what is cut or frozen now holds for the other half, too
        try:
            # Cancelled only at the end; asyncio's own callback would report it.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
                try:
                    if writer.transport.is_closing():
                        return
                    self._writers.add(server_writer)
                    if writer in self._frozen:
                        self._frozen.add(server_writer)
                    await asyncio.gather(
                        self._pump(reader, server_writer, "from_client"),
                        self._pump(server_reader, writer, "from_server"),
                    )
                finally:
                    self._writers.discard(server_writer)
                    server_writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self._swallows(writer):
                self.swallowed_bytes += len(data)
                continue
            if self.replaced is not None and direction == "from_server":
                data = data.replace(*self.replaced)
            budget = self._budgets[direction]
            if budget is not None:
                if len(data) >= budget:
                    writer.write(data[:budget])
                    await writer.drain()
                    self._budgets[direction] = None
                    self._close_all()
                    return
                self._budgets[direction] = budget - len(data)
            writer.write(data)
            await writer.drain()
        if not self._swallows(writer):  # one that is silent does not even say that the other side has gone
            writer.close()

    def _swallows(self, writer: asyncio.StreamWriter) -> bool:
        return self.is_silent or writer in self._frozen

    def _close_all(self) -> None:
        # Not abort: what was forwarded up to the middle of a frame has to arrive.
        for writer in self._writers:
            writer.close()


IN_ORDER_S = 1e-6
"""The event loop calls what is due at the same time in any order."""


class LateProxy(Proxy):
    """Every byte arrives `late_s` later, in order; other than with `delay_s`, as many at a time as come."""

    late_s = 0.0

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        late = asyncio.StreamReader()
        carrying = asyncio.create_task(self._carry(reader, late))
        try:
            await super()._pump(late, writer, direction)
        finally:
            carrying.cancel()

    async def _carry(self, reader: asyncio.StreamReader, late: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        due_at = 0.0
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                due_at = max(due_at + IN_ORDER_S, loop.time() + self.late_s)
                loop.call_at(due_at, late.feed_data, data)
        loop.call_at(due_at + IN_ORDER_S, late.feed_eof)
