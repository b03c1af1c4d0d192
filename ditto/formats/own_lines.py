"""The header lines of many changes (`own_headers`): picks the compiled function or its plain-Python twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ditto.decoding.change import ReadRow
from ditto.decoding.choose import IMPL
from ditto.formats.own_headers import own_lines


def pure_lines_of(changes: Sequence[Any], more: bytes = b"") -> list[bytes]:
    """Of each its id and commit time, and then `more`, in plain Python."""
    return [own_lines(change.id, change.commit_time) + more for change in changes]


if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._own_lines import lines_of
else:
    lines_of = pure_lines_of


def own_lines_of(changes: Sequence[Any], more: bytes = b"") -> list[bytes]:
    """Of each what Ditto has to know of it, and then `more`; all are rows of a snapshot, or none is."""
    if changes and isinstance(changes[0], ReadRow):
        return [own_lines(change.id, change.commit_time, mark=change.snapshot) + more for change in changes]
    return lines_of(changes, more)
