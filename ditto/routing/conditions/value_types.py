"""The types of a condition's parts: those of CEL, and `numeric`, which is exact."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ditto.routing.conditions.instants import Duration, Timestamp


class Type(Struct, frozen=True):
    """A type; a value of a nullable one may be null."""

    name: str
    parameters: tuple[Type, ...] = ()
    """Of a list its items', of a map the keys' and the values'."""
    is_nullable: bool = False

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parameters))})" if self.parameters else self.name

    @property
    def classes(self) -> tuple[type, ...]:
        """The Python classes of its values, null apart; none for dyn, which may be any."""
        return _CLASSES.get(self.name, ())

    def parameter(self, index: int) -> Type:
        """The type of a list's items, of a map's keys or values; dyn where it is not known."""
        known = len(self.parameters) > index and self.parameters[index].name != "free"
        return self.parameters[index] if known else DYN

    def nullable(self) -> Type:
        """The same, or null."""
        return replace(self, is_nullable=True)


BOOL: Final = Type("bool")
INT: Final = Type("int")
DOUBLE: Final = Type("double")
NUMERIC: Final = Type("numeric")
"""PostgreSQL's; no type of CEL."""
STRING: Final = Type("string")
BYTES: Final = Type("bytes")
TIMESTAMP: Final = Type("timestamp")
DURATION: Final = Type("duration")
NULL: Final = Type("null", (), True)
DYN: Final = Type("dyn", (), True)
"""Known only when there is a value."""
FREE: Final = Type("free", (), True)
"""Of the items of `[]` and the entries of `{}`: whatever is wanted."""
KEY_TYPES: Final = frozenset({"bool", "int", "string"})
"""Of maps."""

_CLASSES: Final[dict[str, tuple[type, ...]]] = {
    "bool": (bool,),
    "int": (int,),
    "double": (float,),
    "numeric": (Decimal,),
    "string": (str,),
    "bytes": (bytes,),
    "timestamp": (Timestamp,),
    "duration": (Duration,),
    "list": (list,),
    "map": (dict,),
}
NAMES: Final[dict[type, str]] = {classes[0]: name for name, classes in _CLASSES.items()} | {type(None): "null"}
"""What a value's class is called."""


def list_of(items: Type) -> Type:
    """A list."""
    return Type("list", (items,))


def map_of(keys: Type, values: Type) -> Type:
    """A map."""
    return Type("map", (keys, values))


def join(one: Type, other: Type) -> Type | None:
    """The type that values of both have, as CEL's checker sees it; None where a value can have only one of them."""
    if "free" in {one.name, other.name}:
        return other if one.name == "free" else one
    if "dyn" in {one.name, other.name}:
        return DYN
    is_nullable = one.is_nullable or other.is_nullable
    if one.name == other.name and len(one.parameters) == len(other.parameters):
        joined = [join(mine, theirs) for mine, theirs in zip(one.parameters, other.parameters, strict=True)]
        found = tuple(parameter for parameter in joined if parameter is not None)
        return Type(one.name, found, is_nullable) if len(found) == len(joined) else None
    if NULL.name in {one.name, other.name}:
        known = other if one.name == NULL.name else one
        return known if known.is_nullable else None
    return None
