"""The syntax tree of a condition, as the parser makes it: nothing has been looked up yet."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Literal(Struct, frozen=True):
    """null, true, a number, a text or bytes."""

    offset: int
    value: bool | int | float | str | bytes | None
    source: str
    """As it is written: a decimal number says more than the double nearest to it."""


class Name(Struct, frozen=True):
    """A name on its own: `action`, `data`, the variable of a macro."""

    offset: int
    name: str


class Select(Struct, frozen=True):
    """`operand.field`."""

    offset: int
    operand: Node
    field: str


class Call(Struct, frozen=True):
    """A function, a method of `target`, or an operator, whose function has its name in CEL: `_+_`, `_[_]`, `_?_:_`."""

    offset: int
    function: str
    target: Node | None
    arguments: tuple[Node, ...]


class Items(Struct, frozen=True):
    """`[a, b]`."""

    offset: int
    items: tuple[Node, ...]


class Entries(Struct, frozen=True):
    """`{a: b}`."""

    offset: int
    entries: tuple[tuple[Node, Node], ...]


Node: TypeAlias = Literal | Name | Select | Call | Items | Entries


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below."""
    match node:
        case Select(operand=operand):
            return (operand,)
        case Call(target=target, arguments=arguments):
            return arguments if target is None else (target, *arguments)
        case Items(items=items):
            return items
        case Entries(entries=entries):
            return tuple(side for entry in entries for side in entry)
        case _:
            return ()


def depth(node: Node) -> int:
    """Levels of the tree, without recursion: a text can be nested more deeply than Python's stack."""
    levels = 0
    level: list[Node] = [node]
    while level:
        levels += 1
        level = [child for parent in level for child in children(parent)]
    return levels
