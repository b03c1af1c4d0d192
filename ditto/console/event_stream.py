"""Server-sent events, as the API sends the live tail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple


class ServerEvent(NamedTuple):
    """One event."""

    kind: str
    data: str


async def read_events(parts: AsyncIterator[bytes]) -> AsyncIterator[ServerEvent]:
    """The events of a body that comes in parts. Comments, which keep connections open, are left out."""
    kind, rest = "message", b""
    data: list[str] = []
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode(errors="replace")
            if not text:
                if data:
                    yield ServerEvent(kind, "\n".join(data))
                kind, data = "message", []
                continue
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                kind = value
            elif name == "data":
                data.append(value)
