"""Which trace an event belongs to: https://www.w3.org/TR/trace-context/#traceparent-header.

A transactional logical message, `pg_logical_emit_message(true, 'traceparent', '00-…')`, says it for the changes that
follow it in its transaction; a column of the row, for that row. The writers of the database decide what is
there, so that only what is a traceparent through and through becomes a header.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from ditto.decoding.change import Change
from ditto.decoding.messages import Block

_SYNTAX: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NAME: Final = b"traceparent: "
_MAX_WAITING: Final = 1000


class Traceparents:
    """Finds the traceparents of one session's blocks, in their order. `column` is the configured one."""

    def __init__(self, column: str | None) -> None:
        self._column = column
        self._waiting: deque[tuple[int, int, bytes]] = deque(maxlen=_MAX_WAITING)
        self._current: tuple[int, int, bytes] | None = None

    def of(self, block: Block) -> dict[int, bytes] | None:
        """By index of the change; None where nothing says anything."""
        if block.traceparents:
            self._waiting += (mark for mark in block.traceparents if is_traceparent(mark[2]))
        if not self._waiting and self._current is None and self._column is None:
            return None
        found: dict[int, bytes] = {}
        for index, place in enumerate(zip(block.commit_lsns, block.ordinals, strict=True)):
            while self._waiting and self._waiting[0][:2] <= place:
                self._current = self._waiting.popleft()
            if self._current is not None:
                if self._current[0] == place[0]:
                    found[index] = self._current[2]
                else:
                    self._current = None
        if self._column is not None:
            for index, change in enumerate(block.changes):
                if (value := _in_row(change, self._column)) is not None:
                    found[index] = value
        if block.headers is not None:
            for index, lines in enumerate(block.headers):
                if lines.startswith(_NAME) or b"\r\n" + _NAME in lines:  # the application's own
                    found.pop(index, None)
        return found or None


def is_traceparent(value: bytes) -> bool:
    """Whether it is one, of any version that has the fields of version 00."""
    return _SYNTAX.fullmatch(value) is not None


def _in_row(change: object, column: str) -> bytes | None:
    """What the column says, of the old row for a DELETE."""
    if not isinstance(change, Change):
        return None
    text = (change.data or change.data_old).get(column)
    if not isinstance(text, str) or not text.isascii():
        return None
    value = text.encode()
    return value if is_traceparent(value) else None
