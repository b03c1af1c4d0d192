"""PostgreSQL's text of an array as a list, through the decoder's own conversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ditto.decoding.choose import convert
from ditto.decoding.column_kinds import ARRAY, TEXT

_TEXTS: Final = ARRAY | TEXT
_list = msgspec.json.Decoder(list[Any])


def read_list(text: str, kind: int = _TEXTS) -> list[Any] | None:
    """The elements as the kind has them, lists within lists for further dimensions; None for what is no plain literal.

    That is one with bounds of its own, which a list does not have.
    """
    found = convert(text.encode(), kind)
    return list_of(found) if isinstance(found, msgspec.Raw) else None


def list_of(array: msgspec.Raw) -> list[Any]:
    """The elements of what the decoder has made of an array."""
    return _list.decode(array)


def read_each(elements: list[Any], read: Callable[[str], Any]) -> list[Any]:
    """The same lists with every text in them read, and None left as it is."""
    return [
        None if each is None else read_each(each, read) if isinstance(each, list) else read(each) for each in elements
    ]
