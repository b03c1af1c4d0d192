"""What the entries of streams are, as `base.Reader` gives them; and those of many streams in one order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ditto.formats.own_headers import read_own
from ditto.lsn import Position
from ditto.routing.router import description_subjects, snapshot_subjects
from ditto.sinks.base import MessageKind, ReadMessage
from ditto.sinks.event_place import commit_time_of
from ditto.sinks.redis.stored_state import read_id

if TYPE_CHECKING:
    from ditto.sinks.redis.wire import Wire

KEY_FIELD: Final = "Ditto-Key"
_DATA: Final = b"data"
_MOST: Final = 5000
"""Entries that are asked for at once, of all streams together; of each at least `_LEAST`."""
_LEAST: Final = 10
_LARGEST_COUNT: Final = 500


class Entry(NamedTuple):
    """Of one stream, as the server gives it; ordered by position."""

    position: Position
    stream: bytes
    fields: list[bytes]
    """Names and values by turns."""


class Kinds:
    """Makes messages of entries."""

    def __init__(self, key_prefix: str, events_prefix: str) -> None:
        self._skipped = len(key_prefix.encode())
        self._descriptions = description_subjects(events_prefix)
        self._controls = snapshot_subjects(events_prefix)

    def message(self, entry: Entry, number: int) -> ReadMessage:
        """A description of a table has no position: its id says only which transaction it comes with."""
        route = entry.stream[self._skipped :].decode(errors="replace")
        names, values = entry.fields[::2], entry.fields[1::2]
        payload, key, headers = b"", None, {}
        for name, value in zip(names, values, strict=True):
            if name == _DATA:
                payload = value
            elif name == KEY_FIELD.encode():
                key = value.decode(errors="replace")
            else:
                headers[_header(name)] = value.decode(errors="replace")
        kind, position = MessageKind.EVENT, entry.position
        if route.startswith(self._descriptions):
            return ReadMessage(number, MessageKind.DESCRIPTION, payload, route, headers, key)
        if route.startswith(self._controls):
            kind = MessageKind.CONTROL
        return ReadMessage(number, kind, payload, route, headers, key, position)


def _header(name: bytes) -> str:
    return "data" if name == b"%64ata" else name.decode(errors="replace")


def commit_time(entry: Entry) -> str | None:
    """Of the entry's transaction; None where it does not say."""
    fields = {
        name.decode(errors="replace"): value for name, value in zip(entry.fields[::2], entry.fields[1::2], strict=True)
    }
    own = read_own(lambda name: None if name not in fields else fields[name].decode(errors="replace"))
    return commit_time_of(fields.get("data", b"")) if own is None else own.commit_time


def entries_of(stream: bytes, answer: Any) -> list[Entry]:
    """Of XRANGE, XREVRANGE or one stream of XREAD."""
    return [Entry(read_id(identifier), stream, fields) for identifier, fields in answer or () if fields]


async def merged(wire: Wire, streams: Sequence[bytes], after: Position, end: Position) -> AsyncGenerator[list[Entry]]:
    """All entries after one position, up to another one, in order of their positions, some at a time.

    Streams that have become empty, or are gone, have nothing to give; those that are no streams raise SinkError.
    """
    count = max(_LEAST, min(_LARGEST_COUNT, _MOST // max(1, len(streams))))
    waiting: dict[bytes, list[Entry]] = {stream: [] for stream in streams}
    last = dict.fromkeys(streams, after)
    while waiting:
        empty = [stream for stream, entries in waiting.items() if not entries]
        found = await _read(wire, {stream: last[stream] for stream in empty}, count)
        for stream in empty:
            entries = found.get(stream, [])
            within = [entry for entry in entries if entry.position <= end]
            if within:
                waiting[stream] = within
                last[stream] = within[-1].position
            if len(entries) < count or len(within) < len(entries):
                last[stream] = end  # nothing comes after these
        bound = min((last[stream] for stream in waiting), default=end)
        taken: list[Entry] = []
        for stream, entries in list(waiting.items()):
            ready = [entry for entry in entries if entry.position <= bound]
            taken += ready
            waiting[stream] = entries[len(ready) :]
            if not waiting[stream] and last[stream] >= end:
                del waiting[stream]
        taken.sort(key=_by_position)
        if taken:
            yield taken


def _by_position(entry: Entry) -> tuple[Position, bytes]:
    return entry.position, entry.stream


async def _read(wire: Wire, after: dict[bytes, Position], count: int) -> dict[bytes, list[Entry]]:
    if not after:
        return {}
    ids = [f"{position.commit_lsn}-{position.ordinal}" for position in after.values()]
    answer = await wire.ask("read streams", "XREAD", "COUNT", count, "STREAMS", *after, *ids)
    return {stream: entries_of(stream, entries) for stream, entries in answer or ()}
