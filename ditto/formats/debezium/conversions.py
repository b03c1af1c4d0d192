"""What makes Debezium's values out of texts: compiled conversions, or the functions in Python that are their twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ditto.decoding.choose import IMPL, convert
from ditto.decoding.column_kinds import ARRAY
from ditto.formats.array_texts import list_of, read_each

Function = Callable[[str | None], Any]


class Read(NamedTuple):
    """How texts of a type are read."""

    function: Callable[[str], Any]
    name: str = ""
    """Of what is compiled for the usual ones (`_debezium_values`); empty for nothing."""
    parameter: int = 0


def pure_value(read: Read) -> Function:
    """A scalar's function, in plain Python."""
    return lambda text: None if text is None else read.function(text)


def pure_document() -> Function:
    """That of a document, which is a text."""
    return lambda text: text


def pure_array(kind: int, read: Read | None) -> Function:
    """An array's, where elements are of this kind, or read; those of several dimensions are None."""

    def read_array(text: str | None) -> Any:
        if text is None:
            return None
        found = convert((text.partition("=")[2] if text.startswith("[") else text).encode(), ARRAY | kind)
        if not isinstance(found, msgspec.Raw) or bytes(found).startswith(b"[["):
            return None
        return found if read is None else read_each(list_of(found), read.function)

    return read_array


if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._debezium_values import Array, Document, Value

    def value(read: Read) -> Function:
        """A scalar's function."""
        return Value(read.name, read.function, read.parameter)

    def document() -> Function:
        """That of a document, which is a text."""
        return Document()

    def array(kind: int, read: Read | None) -> Function:
        """An array's, where elements are of this kind, or read; those of several dimensions are None."""
        element = None if read is None else Value(read.name, read.function, read.parameter)
        return Array(ARRAY | kind, element)

else:
    value, document, array = pure_value, pure_document, pure_array

__all__ = ["Function", "Read", "array", "document", "pure_array", "pure_document", "pure_value", "value"]
