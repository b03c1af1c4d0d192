"""Keys of messages: what a sink, or a consumer, may partition by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UnsetType

from ditto.decoding import column_kinds
from ditto.decoding.messages import RuleFailed
from ditto.routing.templates import Cell, event_text

MAX_KEY: Final = 4096
"""Bytes."""


def key_function(
    columns: Sequence[str], kinds: Mapping[str, int], *, rule: str, substitutes: bool
) -> Callable[..., bytes | None]:
    """What makes a key of the cells of these columns: of one its text, of several a JSON object of their values.

    NULL alone is no key. With `substitutes` a row has no key where a value was not sent, or the key is too long;
    otherwise RuleFailed is raised.
    """
    kinds_of = [kinds[column] for column in columns]

    def key(*cells: Cell) -> bytes | None:
        unsent = [column for column, cell in zip(columns, cells, strict=True) if isinstance(cell, UnsetType)]
        encoded = None if unsent else _encoded(columns, kinds_of, cells)
        if not unsent and (encoded is None or len(encoded) <= MAX_KEY):
            return encoded
        if substitutes:
            return None
        reason = f"the value of column {unsent[0]} was not sent" if unsent else f"it takes more than {MAX_KEY} bytes"
        raise RuleFailed(rule, reason)

    return key


def _encoded(columns: Sequence[str], kinds: Sequence[int], cells: Sequence[Any]) -> bytes | None:
    if len(columns) == 1:
        return None if cells[0] is None else event_text(cells[0], kinds[0]).encode()
    return msgspec.json.encode(
        {name: _value(cell, kind) for name, cell, kind in zip(columns, cells, kinds, strict=True)}
    )


def _value(cell: str | None, kind: int) -> Any:
    if cell is None or kind == column_kinds.TEXT:
        return cell
    if kind == column_kinds.INT and cell.isdecimal() and cell.isascii():
        return int(cell)
    from ditto.decoding.pure.column_values import convert  # noqa: PLC0415  of no use to most pipelines

    return convert(cell.encode(), kind)
