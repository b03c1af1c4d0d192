"""Rows with the envelope around them: picks the compiled function or its plain-Python twin, as for the decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ditto.decoding.choose import IMPL


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

_NOTHING: Final = b"{}"


def pure_wrap(
    changes: Sequence[Any],
    layouts: Sequence[Any],
    commit_lsns: Sequence[int],
    ordinals: Sequence[int],
    new: bytes,
    old: bytes | None,
    make_frame: MakeFrame,
) -> tuple[bytearray, list[int]]:
    """The events, a newline behind each, and where each ends, in plain Python.

    `new` and `old` are the rows, a line each; an old row that is empty, and every one where `old` is None, is null.
    """
    data, ends = bytearray(), []
    new_lines = new.split(b"\n")
    old_lines = [_NOTHING] * len(changes) if old is None else old.split(b"\n")
    frame, made_for = None, (None, -1, "")
    for change, layout, commit_lsn, ordinal, after, before in zip(
        changes, layouts, commit_lsns, ordinals, new_lines, old_lines, strict=False
    ):
        if frame is None or made_for != (layout, commit_lsn, change.action):
            frame, made_for = make_frame(layout, commit_lsn, change), (layout, commit_lsn, change.action)
        data += frame.start
        data += b"null" if before == _NOTHING else before
        data += frame.between
        data += after if frame.has_after else b"null"
        data += b"%b%d%b" % (frame.source, ordinal, frame.rest)
        ends.append(len(data))
        data += b"\n"
    return data, ends


def pure_rows_of(changes: Sequence[Any], layouts: Sequence[Any]) -> tuple[list[Any], list[Any] | None]:
    """New and old rows of changes, whole; None where no change has an old one. In plain Python."""
    new = [
        change.data if change.unchanged is msgspec.UNSET else layout.filled(change)
        for change, layout in zip(changes, layouts, strict=True)
    ]
    old = [
        layout.whole(change.data_old) if 0 < len(change.data_old) < len(layout.blank) else change.data_old
        for change, layout in zip(changes, layouts, strict=True)
    ]
    return new, old if any(old) else None


if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._debezium import rows_of, wrap
else:
    rows_of, wrap = pure_rows_of, pure_wrap

__all__ = ["Frame", "MakeFrame", "pure_rows_of", "pure_wrap", "rows_of", "wrap"]
