"""Rows with the envelope around them: picks the compiled function or its plain-Python twin, as for the decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ditto.decoding.choose import IMPL

_ENCODER: Final = msgspec.json.Encoder()


class Frame(NamedTuple):
    """What is around the rows of changes of one table, one transaction and one action."""

    start: bytes
    """Before the old row."""
    between: bytes
    """Before the new one."""
    source: bytes
    """Behind it, up to the number of the change in its transaction."""
    rest: bytes
    has_after: bool
    """There is a new row."""


MakeFrame = Callable[[Any, int, Any], Frame]
"""Layout, commit LSN and change in."""


def pure_encode_events(
    changes: Sequence[Any],
    layouts: Sequence[Any],
    commit_lsns: Sequence[int],
    ordinals: Sequence[int],
    make_frame: MakeFrame,
) -> tuple[bytearray, list[int]]:
    """The events, a newline behind each, and where each ends, in plain Python."""
    data, ends = bytearray(), []
    frame, made_for = None, (None, -1, "")
    for change, layout, commit_lsn, ordinal in zip(changes, layouts, commit_lsns, ordinals, strict=True):
        if frame is None or made_for != (layout, commit_lsn, change.action):
            frame, made_for = make_frame(layout, commit_lsn, change), (layout, commit_lsn, change.action)
        data += frame.start
        data += _old_row(change, layout)
        data += frame.between
        data += _new_row(change, layout) if frame.has_after else b"null"
        data += b"%b%d%b" % (frame.source, ordinal, frame.rest)
        ends.append(len(data))
        data += b"\n"
    return data, ends


def _old_row(change: Any, layout: Any) -> bytes:
    row = change.data_old
    if not row:
        return b"null"
    return _ENCODER.encode(row if len(row) >= len(layout.blank) else layout.whole(row))


def _new_row(change: Any, layout: Any) -> bytes:
    return _ENCODER.encode(change.data if change.unchanged is msgspec.UNSET else layout.filled(change))


if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._debezium import encode_events
else:
    encode_events = pure_encode_events

__all__ = ["Frame", "MakeFrame", "encode_events", "pure_encode_events"]
