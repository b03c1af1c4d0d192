"""The checked tree of a condition: every part has a type, every name is looked up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from ditto.routing.conditions.value_types import BOOL, STRING, Type

Row: TypeAlias = Literal["data", "dataOld", "row"]
"""Of an expression: the new row, the old one, the new one but of a DELETE the old one."""
Macro: TypeAlias = Literal["all", "exists", "exists_one", "map", "filter"]


class Constant(Struct, frozen=True):
    """A value that is known already."""

    type: Type
    value: Any
    number: str = ""
    """How a number is written; empty for all others."""


class Column(Struct, frozen=True):
    """A column's value."""

    type: Type
    row: Row
    index: int
    name: str


class Sent(Struct, frozen=True):
    """Whether the column was sent at all: `has(data.x)`."""

    row: Row
    index: int
    type: Type = BOOL


class Changed(Struct, frozen=True):
    """Whether an UPDATE changed the column."""

    index: int
    name: str
    is_key: bool
    """Sent of the old row only where the key changed."""
    type: Type = BOOL


class ActionName(Struct, frozen=True):
    """`action`."""

    type: Type = STRING


class Variable(Struct, frozen=True):
    """The variable of a macro; `number` is one of its own in the whole condition."""

    type: Type
    number: int


class Apply(Struct, frozen=True):
    """A function of `functions.FUNCTIONS`. With `code` None the values decide which one."""

    type: Type
    function: str
    arguments: tuple[Part, ...]
    code: str | None
    extra: Any = None
    """The time zone of a getter, the compiled pattern of `matches`, the key of `has`."""
    pattern: str = ""
    """That of `matches`, as it is written."""


class Equal(Struct, frozen=True):
    """`==` and `!=`."""

    left: Part
    right: Part
    is_negated: bool
    type: Type = BOOL


class In(Struct, frozen=True):
    """`value in items`."""

    value: Part
    items: Part
    type: Type = BOOL


class At(Struct, frozen=True):
    """`items[index]`, and `items.index`."""

    type: Type
    items: Part
    index: Part


class Logic(Struct, frozen=True):
    """`&&` or `||` of two or more."""

    is_and: bool
    operands: tuple[Part, ...]
    type: Type = BOOL


class Choice(Struct, frozen=True):
    """`condition ? yes : no`."""

    type: Type
    condition: Part
    yes: Part
    no: Part


class ListOf(Struct, frozen=True):
    """`[a, b]`."""

    type: Type
    items: tuple[Part, ...]


class MapOf(Struct, frozen=True):
    """`{a: b}`."""

    type: Type
    keys: tuple[Part, ...]
    values: tuple[Part, ...]


class Loop(Struct, frozen=True):
    """A macro. `condition` is true where there is none, and `result` the variable itself."""

    type: Type
    macro: Macro
    items: Part
    variable: Variable
    condition: Part
    result: Part


Part: TypeAlias = (
    Constant
    | Column
    | Sent
    | Changed
    | ActionName
    | Variable
    | Apply
    | Equal
    | In
    | At
    | Logic
    | Choice
    | ListOf
    | MapOf
    | Loop
)


def parts_of(part: Part) -> Iterator[Part]:
    """A part and all below it."""
    yield part
    for name in part.__struct_fields__:
        value = getattr(part, name)
        for below in value if isinstance(value, tuple) else (value,):
            if isinstance(below, Part):
                yield from parts_of(below)
