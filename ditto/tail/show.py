"""An event as text: a line that says what happened to which row, and a line for each column that it tells about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click
import msgspec

from ditto.printable import printable
from ditto.shallow import Row

_SHORT: Final = 80
"""Characters of a value."""
_COLOURS: Final = {"INSERT": "green", "UPDATE": "yellow", "DELETE": "red", "TRUNCATE": "magenta"}


class Shown(msgspec.Struct, gc=False, rename="camel"):
    """An event of the stream, its values as the JSON that they stand in."""

    schema: str
    table: str
    action: str
    data: Row
    data_old: Row
    commit_time: str
    unchanged: tuple[str, ...] = ()


class Writer:
    """Turns events into text, and learns the tables' keys from them."""

    def __init__(self, *, is_coloured: bool) -> None:
        self._is_coloured = is_coloured
        self._keys: dict[tuple[str, str], tuple[str, ...]] = {}

    def text(self, event: Shown) -> str:
        """The event's lines."""
        key = self._key(event)
        row = event.data or event.data_old
        names = " ".join(f"{printable(name)}={short(row[name])}" for name in key if name in row)
        time = printable(event.commit_time.replace("T", " "))
        action = self._paint(f"{printable(event.action):<8}", _COLOURS.get(event.action, "white"), is_bold=True)
        head = f"{self._paint(time, 'bright_black')}  {action}  {printable(event.schema)}.{printable(event.table)}"
        return "\n".join([f"{head}  {names}".rstrip(), *self._columns(event, key)])

    def _key(self, event: Shown) -> tuple[str, ...]:
        """The key's columns, which no event names.

        An old row that has fewer columns than the new one holds exactly the replica identity. Before one was seen:
        `id`, or the first column.
        """
        table = (event.schema, event.table)
        width = len(event.data) + len(event.unchanged)
        if event.data_old and len(event.data_old) < width:
            self._keys[table] = tuple(event.data_old)
        known = self._keys.get(table)
        if known is not None:
            return known
        row = event.data or event.data_old
        return ("id",) if "id" in row else tuple(row)[:1]

    def _columns(self, event: Shown, key: tuple[str, ...]) -> Iterator[str]:
        old, new = event.data_old, event.data
        is_whole = len(old) >= len(new) + len(event.unchanged)
        for name, value in new.items():
            if name in old and bytes(old[name]) != bytes(value):
                before, after = self._paint(short(old[name]), "red"), self._paint(short(value), "green")
                yield f"    {printable(name)}: {before} → {after}"
            elif event.action == "INSERT" and name not in key:
                yield self._paint(f"  + {printable(name)}: {short(value)}", "green")
            elif event.action == "UPDATE" and not is_whole and name not in key:
                # Without REPLICA IDENTITY FULL nobody knows whether it has changed.
                yield f"    {printable(name)}: {short(value)}"
        if not new:
            for name, value in old.items():
                if name not in key:
                    yield self._paint(f"  - {printable(name)}: {short(value)}", "red")
        if event.unchanged:
            names = ", ".join(printable(name) for name in event.unchanged)
            yield self._paint(f"    unchanged: {names}", "bright_black")

    def _paint(self, text: str, colour: str, *, is_bold: bool = False) -> str:
        return click.style(text, fg=colour, bold=is_bold or None) if self._is_coloured else text


def short(value: Any) -> str:
    """A value's JSON, cut off where it is long."""
    data = bytes(value)
    # A character has at most four bytes: no need to read megabytes for eighty of them.
    text = data[: 4 * _SHORT].decode(errors="ignore")
    if len(data) <= 4 * _SHORT and len(text) <= _SHORT:
        return printable(text)
    return f"{printable(text[:_SHORT])}… ({len(data):,} bytes)"
