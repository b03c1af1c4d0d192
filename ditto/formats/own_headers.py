"""The headers by which Ditto knows a message of its own whose body is not an event in the default shape.

The default shape says all this in its JSON. Another body is the application's, or another format's: it may look like
anything, also like an event, so that these headers decide and not the body.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from ditto.decoding.change import SnapshotMark

ID: Final = "Ditto-Id"
"""By which consumers find a message that comes twice: the event's id, or the application's own where it gives one."""
EVENT_ID: Final = "Ditto-Event"
"""The event's id, where `ID` is the application's."""
COMMIT_TIME: Final = "Ditto-Commit-Time"
"""As in an event; absent where no transaction is known."""
MARK: Final = "Ditto-Snapshot-Mark"
"""Of a row that a snapshot read, `SnapshotMark` as JSON."""
MESSAGE: Final = "Ditto-Message"
"""Of a logical message, its prefix; percent-encoded where it is not printable ASCII."""
OUTBOX: Final = "Ditto-Outbox"
"""Of a row of an outbox, schema and table, in the same way."""
CONTENT_TYPE: Final = "Content-Type"


class OwnPlace(NamedTuple):
    """What the headers say."""

    id: str
    """Proves the position: see `event_id`."""
    commit_time: str | None
    mark: SnapshotMark | None


def own_lines(
    event_id: str, commit_time: str, *, own_id: str | None = None, mark: SnapshotMark | msgspec.UnsetType | None = None
) -> bytes:
    """Header lines of a message. `own_id` is the application's, one line of ASCII; an empty time is left out."""
    lines = f"{ID}: {event_id}\r\n" if own_id is None else f"{ID}: {own_id}\r\n{EVENT_ID}: {event_id}\r\n"
    if commit_time:
        lines += f"{COMMIT_TIME}: {commit_time}\r\n"
    if isinstance(mark, SnapshotMark):
        lines += f"{MARK}: {_ascii_json(mark)}\r\n"
    return lines.encode()


def _ascii_json(mark: SnapshotMark) -> str:
    written = msgspec.json.encode(mark)
    if written.isascii():
        return written.decode()
    return json.dumps(msgspec.to_builtins(mark), separators=(",", ":"))  # with other characters escaped


def read_own(header: Callable[[str], str | None]) -> OwnPlace | None:
    """What the headers of a message say, `header` looks one up; None where its body is to say it."""
    identifier = header(EVENT_ID) or header(ID)
    if identifier is None:
        return None
    mark = header(MARK)
    try:
        read = None if mark is None else msgspec.json.decode(mark, type=SnapshotMark)
    except msgspec.MsgspecError:
        read = None
    return OwnPlace(identifier, header(COMMIT_TIME), read)


def pairs(lines: bytes) -> dict[str, str]:
    """Names and values of header lines."""
    split = (line.partition(b":") for line in lines.split(b"\r\n") if line)
    return {name.decode(): value.strip().decode() for name, _, value in split}
