"""An event as text: a line that says what happened to which row, and a line for each column that it tells about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import click
from rich.cells import cell_len, set_cell_size

from ditto.formats import deep_json
from ditto.formats.deep_json import Row
from ditto.formats.message_content import BYTES, type_of
from ditto.formats.snapshot_events import ControlEvent
from ditto.formats.stored_events import READ, StoredEvent
from ditto.printable_text import printable
from ditto.tail.messages import MESSAGE, ShownMessage
from ditto.units import counted, size

_SHORT: Final = 80
"""Characters of a value."""
_SHORTEST: Final = 12
_AROUND_PAIR: Final = 40
"""Columns for the text around two values: the indent, the arrow, and the sizes of those that are cut off."""
_COLOUR: Final = re.compile(r"(\x1b\[[0-9;]*m)")
_COLOURS: Final = {
    "INSERT": "green",
    "UPDATE": "yellow",
    "DELETE": "red",
    "TRUNCATE": "magenta",
    READ: "cyan",
    MESSAGE: "blue",
}
_NEW: Final = frozenset({"INSERT", READ})
_CONTROL: Final = "SNAPSHOT"


class _Rows(NamedTuple):
    """The rows of an event, their values as JSON text."""

    new: Row
    old: Row
    unchanged: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()
    """What else there is to say, with a label each."""

    @property
    def width(self) -> int:
        """How many columns the new row has, with those that did not change and are not in it."""
        return len(self.new) + len(self.unchanged)


class Writer:
    """Turns events into text, and learns the tables' keys from them."""

    def __init__(self, *, is_coloured: bool, width: Callable[[], int] | None = None) -> None:
        """`width` gives the columns of the terminal; without it lines are as long as they are."""
        self._is_coloured = is_coloured
        self._width = width
        self._keys: dict[tuple[str, str], tuple[str, ...]] = {}

    def text(self, event: StoredEvent) -> str:
        """The event's lines. Raises msgspec.MsgspecError where its rows are none."""
        rows = _Rows(deep_json.members(event.data), deep_json.members(event.data_old), event.unchanged, _notes(event))
        named = None if event.meta is None else event.meta.primary_key
        key = named or self._key((event.schema, event.table), rows)
        row = rows.new or rows.old
        names = " ".join(f"{printable(name)}={short(row[name])}" for name in key if name in row)
        head = self._head(event.commit_time, event.action, f"{event.schema}.{event.table}")
        return self._fitted([f"{head}  {names}".rstrip(), *self._columns(event.action, rows, key)])

    def control_text(self, event: ControlEvent) -> str:
        """The line of a control event."""
        control = event.snapshot
        about = "" if control.table is None else f"{control.schema}.{control.table}"
        parts = [
            control.state,
            "" if control.rows is None else counted(control.rows, "row"),
            "" if control.left_out is None else f"{control.left_out:,} left out",
            f"run {control.run}",
        ]
        reason = "" if control.reason is None else f": {control.reason}"
        head = self._head(event.commit_time, _CONTROL, about)
        return self._fitted([f"{head}  {printable(', '.join(filter(None, parts)) + reason)}"])

    def message_text(self, message: ShownMessage) -> str:
        """The lines of a message whose body is the application's: where it is from and to, its headers, its body."""
        head = self._head(message.commit_time, MESSAGE, message.source)
        about = " ".join(f"{name}={printable(value)}" for name, value in message.about.items())
        headers = [f"    {printable(name)}: {printable(value)}" for name, value in message.own_headers.items()]
        is_text = type_of(message.body) != BYTES
        body = short(message.body) if is_text else counted(len(message.body), "byte")
        return self._fitted(
            [
                f"{head} → {printable(message.subject)}  {about}".rstrip(),
                *(self._paint(line, "bright_black") for line in headers),
                self._paint(f"  + {body}", _COLOURS[MESSAGE]),
            ]
        )

    def _head(self, commit_time: str, action: str, about: str) -> str:
        time = printable(commit_time.replace("T", " "))
        painted = self._paint(f"{printable(action):<8}", _COLOURS.get(action, "white"), is_bold=True)
        return f"{self._paint(time, 'bright_black')}  {painted}  {printable(about)}"

    def _fitted(self, lines: list[str]) -> str:
        if self._width is not None:
            width = self._width()
            lines = [fitted(line, width) for line in lines]
        return "\n".join(lines)

    def _key(self, table: tuple[str, str], rows: _Rows) -> tuple[str, ...]:
        """The key's columns of an event that does not name them.

        An old row that has fewer columns than the new one holds exactly the replica identity. Before one was seen:
        `id`, or the first column.
        """
        if rows.old and len(rows.old) < rows.width:
            self._keys[table] = tuple(rows.old)
        known = self._keys.get(table)
        if known is not None:
            return known
        row = rows.new or rows.old
        return ("id",) if "id" in row else tuple(row)[:1]

    def _columns(self, action: str, rows: _Rows, key: tuple[str, ...]) -> Iterator[str]:
        old, new = rows.old, rows.new
        is_whole = len(old) >= rows.width
        for name, value in new.items():
            if name in old and bytes(old[name]) != bytes(value):
                most = self._half(name)
                before, after = self._paint(short(old[name], most), "red"), self._paint(short(value, most), "green")
                yield f"    {printable(name)}: {before} → {after}"
            elif action in _NEW and name not in key:
                yield self._paint(f"  + {printable(name)}: {short(value)}", _COLOURS[action])
            elif action == "UPDATE" and not is_whole and name not in key:
                # Without REPLICA IDENTITY FULL it is unknown whether it has changed.
                yield f"    {printable(name)}: {short(value)}"
        if not new:
            for name, value in old.items():
                if name not in key:
                    yield self._paint(f"  - {printable(name)}: {short(value)}", "red")
        for label, text in rows.notes:
            yield self._paint(f"    {label}: {text}", "bright_black")
        if rows.unchanged:
            names = ", ".join(printable(name) for name in rows.unchanged)
            yield self._paint(f"    unchanged: {names}", "bright_black")

    def _half(self, name: str) -> int:
        """Characters of a value that shares its line with another one."""
        if self._width is None:
            return _SHORT
        return min(_SHORT, max(_SHORTEST, (self._width() - cell_len(name) - _AROUND_PAIR) // 2))

    def _paint(self, text: str, colour: str, *, is_bold: bool = False) -> str:
        return click.style(text, fg=colour, bold=is_bold or None) if self._is_coloured else text


def _notes(event: StoredEvent) -> tuple[tuple[str, str], ...]:
    """Where the rest is of an event that was too large."""
    stored = event.object
    if event.stripped:
        return (("too large, left out", ", ".join(printable(name) for name in event.stripped)),)
    if stored is not None:
        return (("too large, whole in the object store", f"{stored.bucket} {stored.name} ({size(stored.size)})"),)
    return ()


def fitted(line: str, width: int) -> str:
    """The line, cut off where it would be broken: its colours take no room, some characters take two columns."""
    if cell_len(click.unstyle(line)) <= width:
        return line
    kept, room = [], width - 1
    for part in _COLOUR.split(line):
        if _COLOUR.fullmatch(part):
            kept.append(part)
        elif room > 0:
            piece = part if cell_len(part) <= room else set_cell_size(part, room)
            kept.append(piece)
            room -= cell_len(piece)
    return "".join([*kept, "…"])


def short(value: Any, most: int = _SHORT) -> str:
    """A value's JSON, cut off where it is longer than `most` characters."""
    data = bytes(value)
    # A character has at most four bytes: no need to read megabytes for eighty of them.
    text = data[: 4 * most].decode(errors="ignore")
    if len(data) <= 4 * most and len(text) <= most:
        return printable(text)
    return f"{printable(text[:most])}… ({counted(len(data), 'byte')})"
