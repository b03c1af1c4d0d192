"""Checked tree to compiled numbers: arithmetic on columns, sizes of texts, and parts of timestamps."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ditto.routing.conditions import checked
from ditto.routing.conditions.checked import Part

if TYPE_CHECKING:
    from ditto.decoding._row_tests import RowTest

from ditto.routing.conditions import _arithmetic
from ditto.routing.conditions._arithmetic import GETTERS, KINDS, OPERATIONS

_TOO_MUCH: Final = 1 << 63
_MOST_SCALE: Final = 18


class Unknown(Exception):
    """No compiled test does this."""


def is_computed(part: Part) -> bool:
    """Whether a number or a time is made from columns by an operator or a function."""
    return isinstance(part, checked.Apply) and part.type.name in KINDS


def number_order(one: Part, other: Part, wanted: int) -> RowTest:
    """The order of two numbers or times, of which one is computed. Raises Unknown."""
    types = {"numeric" if part.type.name == "int" else part.type.name for part in (one, other)}
    if len(types) > 1:
        raise Unknown
    return _arithmetic.NumberOrder(_number(one), _number(other), types == {"double"}, wanted)


def _number(part: Part) -> _arithmetic.Number:
    kind = part.type.name
    if kind not in KINDS:
        raise Unknown
    match part:
        case checked.Column():
            return _arithmetic.ColumnValue(part.row, part.index, kind)
        case checked.Constant(value=value):
            return _constant(kind, value)
        case checked.Apply(code=None):
            raise Unknown
        case checked.Apply(function=function, arguments=(one, other)) if function in OPERATIONS:
            return _arithmetic.Computed(function, kind, _number(one), _number(other))
        case checked.Apply(function="-_", arguments=(one,)):
            return _arithmetic.Computed("_-_", kind, _arithmetic.ConstantNumber(0, 0, -0.0), _number(one))
        case checked.Apply(function="double", arguments=(checked.Column() as column,)) if column.type.name in KINDS:
            return _arithmetic.ColumnValue(column.row, column.index, kind)
        case checked.Apply(function="size", arguments=(checked.Column() as column,)) if column.type.name == "string":
            return _arithmetic.TextSize(column.row, column.index)
        case checked.Apply(function=function, arguments=(checked.Column() as column,), extra=None) if (
            function in GETTERS and column.type.name == "timestamp"
        ):
            return _arithmetic.MomentPart(column.row, column.index, function)
    raise Unknown


def _constant(kind: str, value: object) -> _arithmetic.Number:
    if isinstance(value, float):
        return _arithmetic.ConstantNumber(0, 0, value)
    digits, scale = 0, 0
    if kind == "timestamp" and isinstance(value, int) and value % 1000 == 0:
        digits, scale = value // 1000, 6
    elif isinstance(value, int):
        digits, scale = value, 9 if kind in {"timestamp", "duration"} else 0
    elif isinstance(value, Decimal):
        sign, all_digits, exponent = value.as_tuple()
        if not isinstance(exponent, int) or abs(exponent) > _MOST_SCALE:
            raise Unknown
        digits, scale = int(Decimal((sign, all_digits, max(exponent, 0)))), max(-exponent, 0)
    else:
        raise Unknown
    if not -_TOO_MUCH <= digits < _TOO_MUCH:
        raise Unknown
    return _arithmetic.ConstantNumber(digits, scale, 0.0)
