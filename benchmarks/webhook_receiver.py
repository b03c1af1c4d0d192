"""A receiver of webhooks that counts: `python -m benchmarks.webhook_receiver PORT FILE`.

It reads each request whole, counts the events in its body, writes into the file how many there were so far, and
answers.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final, cast

import uvloop

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_EVENT: Final = b'{"id":"'


class _Receiver(asyncio.Protocol):
    """One connection."""

    def __init__(self, counted: list[int], path: Path) -> None:
        self._counted = counted
        self._path = path
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(_END)) >= 0:
            start = head + len(_END)
            length = int(self._buffer[:head].lower().partition(_LENGTH)[2].partition(b"\r\n")[0])
            if len(self._buffer) < start + length:
                return
            self._counted[0] += self._buffer.count(_EVENT, start, start + length)
            self._path.write_text(str(self._counted[0]))
            del self._buffer[: start + length]
            self._transport.write(_ANSWER)


async def main(port: int, path: Path) -> None:
    """Serve until the process ends."""
    counted = [0]
    server = await asyncio.get_running_loop().create_server(lambda: _Receiver(counted, path), "127.0.0.1", port)
    path.write_text("0")  # noqa: ASYNC240  nobody has connected yet
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2])))
