"""Messages whose body is the application's: logical messages, and the rows of an outbox."""

from __future__ import annotations

from typing import Any, Final

from ditto.config import Events
from ditto.decoding.change import Change, MessageEvent
from ditto.decoding.messages import Block
from ditto.formats.base import Format
from ditto.formats.message_content import encode_value, read_content
from ditto.formats.own_headers import ID, MESSAGE, OUTBOX, own_lines
from ditto.formats.payloads import Payloads

_MESSAGE: Final = MESSAGE.encode()
_ID_LINE: Final = f"{ID}: ".encode()


def with_bodies(own: Format, events: Events) -> Format:
    """The format of a pipeline, whose changes `own` encodes."""
    if not events.messages and events.outbox is None:
        return own
    return WithBodies(own, outbox=None if events.outbox is None else events.outbox.name)


class WithBodies:
    """A format (see `base.Format`): of these messages the body alone is the payload; `own` encodes everything else.

    `outbox` is schema and table whose changes have their body as their only value (`routing.outbox`).
    """

    def __init__(self, own: Format, *, outbox: tuple[str, str] | None) -> None:
        self._own = own
        self._outbox = outbox
        name = encode_value(".".join(outbox or ()))
        self._outbox_line = f"{OUTBOX}: {name}\r\n".encode()

    def encode(self, block: Block) -> Payloads:
        """See `base.Format`. What a rule says is the application's own id stays the message's id."""
        bodies = [self._body(change) for change in block.changes]
        if all(body is None for body in bodies):
            return self._own.encode(block)
        headers = [b""] * len(bodies) if block.headers is None else block.headers
        data, ends, start = bytearray(), list[int](), 0
        while start < len(bodies):
            if (body := bodies[start]) is not None:
                headers[start] = self._headers(block.changes[start], headers[start])
                data += body
                ends.append(len(data))
                data += b"\n"
                start += 1
                continue
            stop = start + 1
            while stop < len(bodies) and bodies[stop] is None:
                stop += 1
            part = _part(block, headers, start, stop)
            for payload in self._own.encode(part).each():
                data += payload
                ends.append(len(data))
                data += b"\n"
            if part.headers is not None:
                headers[start:stop] = part.headers
            start = stop
        block.headers = headers
        return Payloads(data, ends, 1)

    def _body(self, change: Any) -> bytes | None:
        if isinstance(change, MessageEvent):
            return read_content(change.content).body
        if self._outbox is None or not isinstance(change, Change) or (change.schema, change.table) != self._outbox:
            return None
        (value,) = change.data.values()
        return value if isinstance(value, bytes) else b"" if value is None else str(value).encode()

    def _headers(self, change: Any, given: bytes) -> bytes:
        """The lines of a message; an id of the application's is the first one of those that a rule has given."""
        own_id = None
        if given.startswith(_ID_LINE):
            line, _, given = given.partition(b"\r\n")
            own_id = line[len(_ID_LINE) :].decode()
        own = own_lines(change.id, change.commit_time, own_id=own_id, mark=getattr(change, "snapshot", None))
        if isinstance(change, MessageEvent):
            return b"%b%b: %b\r\n%b" % (own, _MESSAGE, encode_value(change.prefix).encode(), given)
        return own + self._outbox_line + given


def _part(block: Block, headers: list[bytes], start: int, stop: int) -> Block:
    return Block(
        block.changes[start:stop],
        block.routes[start:stop],
        block.commit_lsns[start:stop],
        block.ordinals[start:stop],
        headers=headers[start:stop] if block.headers is not None else None,
        transactions=block.transactions,
    )
