"""Checked tree to compiled tests of rows, as far as parts compare columns, and numbers that are computed from them.

They decide about almost all rows before there is any value, or even a text, of Python's. All else is not known to them,
and the condition's function decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ditto.routing.conditions import checked
from ditto.routing.conditions.checked import Part, parts_of
from ditto.routing.conditions.columns import delimiter_of
from ditto.routing.conditions.simple_patterns import SimplePattern, simple_patterns

if TYPE_CHECKING:
    from ditto.decoding._row_tests import RowTest

from ditto.decoding import _row_tests as rows
from ditto.routing.conditions import _json_tests, _number_tests, _pair_tests, _readers, _text_tests
from ditto.routing.conditions.row_numbers import Unknown, is_computed, number_order

_ORDERS: Final = {"_<_": 1, "_==_": 2, "_<=_": 3, "_>_": 4, "_>=_": 6}
"""Which orders pass: 1 less, 2 equal, 4 more."""
_FLIPPED: Final = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_"}
_EQUAL: Final = 2
_PAIRS: Final = frozenset({"string", "bool", "int", "double", "numeric", "timestamp", "duration"})
_MOST_CONSTANTS: Final = 32
"""That are looked at one after the other."""
_MAX_US: Final = (1 << 62) - 1
_COSTS: Final = {"double": 1, "numeric": 1, "timestamp": 1, "duration": 1, "list": 2, "dyn": 2}
"""Texts before numbers, arrays and documents last."""
_WORDS: Final = {None: b"null", True: b"true", False: b"false"}


def row_test(part: Part, type_names: Sequence[str]) -> RowTest | None:
    """The test of a whole condition on columns of these types; None where it would know nothing."""
    try:
        return _Tests(type_names).truth(part)
    except Unknown:
        return None


def text_matches(row: checked.Row, column: int, pattern: SimplePattern) -> RowTest:
    """Whether the pattern is found in a column's text."""
    parts = [
        ("".join(part.characters).encode(), part.has_others, part.least, -1 if part.most is None else part.most)
        for part in pattern.parts
    ]
    return _text_tests.TextMatches(row, column, None, parts, pattern.is_from_start, pattern.is_to_end)


class _Tests:
    def __init__(self, type_names: Sequence[str]) -> None:
        self._type_names = type_names

    def truth(self, part: Part) -> RowTest:
        """Raises Unknown."""
        match part:
            case checked.Logic(is_and=is_and, operands=operands):
                return self._logic(operands, is_and=is_and)
            case checked.Apply(function="!_", arguments=(operand,)):
                return rows.Not(self.truth(operand))
            case checked.Constant(value=bool() as value):
                return rows.Always(value)
            case checked.Column() if part.type.name == "bool":
                return self._texts(part, None, [b"t"])
            case checked.Sent(row=row, index=index):
                return rows.IsSent(row, index)
            case checked.Changed(index=index, is_key=is_key):
                return rows.IsChanged(index, is_key)
            case checked.Equal(left=left, right=right, is_negated=is_negated):
                test = self._equal(left, right)
                return rows.Not(test) if is_negated else test
            case checked.In(value=value, items=items):
                return self._in(value, items)
            case checked.Apply(function=function, arguments=(one, other)) if function in _FLIPPED:
                if is_computed(one) or is_computed(other):
                    return number_order(one, other, _ORDERS[function])
                if isinstance(one, checked.Constant):
                    return self._order(other, one, _ORDERS[_FLIPPED[function]], of_null=None)
                if isinstance(one, checked.Column) and isinstance(other, checked.Column):
                    return self._pair(one, other, _ORDERS[function], takes_null=False)
                return self._order(one, other, _ORDERS[function], of_null=None)
            case checked.Apply():
                return self._call(part)
        return self._json_truth(part)

    def _logic(self, operands: Sequence[Part], *, is_and: bool) -> RowTest:
        """Cheap sides first: all of them are commutative, what is not known included."""
        known: list[tuple[int, RowTest]] = []
        for operand in operands:
            try:
                test = self.truth(operand)
            except Unknown:
                continue
            known.append((_cost(operand), test))
        if not known:
            raise Unknown
        tests = [test for _, test in sorted(known, key=lambda pair: pair[0])]
        if len(known) < len(operands):
            tests.append(rows.Unknown())
        return rows.AllOf(tests) if is_and else rows.AnyOf(tests)

    def _equal(self, left: Part, right: Part) -> RowTest:
        if is_computed(left) or is_computed(right):
            return number_order(left, right, _EQUAL)
        if isinstance(left, checked.Column) and isinstance(right, checked.Column):
            return self._pair(left, right, _EQUAL, takes_null=True)
        if isinstance(left, checked.Constant):
            left, right = right, left
        if not isinstance(right, checked.Constant):
            raise Unknown
        return self._one_of(left, [right])

    def _pair(self, one: checked.Column, other: checked.Column, wanted: int, *, takes_null: bool) -> RowTest:
        types = {one.type.name, other.type.name}
        kind = "numeric" if types == {"numeric", "int"} else one.type.name
        is_known = kind in _PAIRS and (len(types) == 1 or types == {"numeric", "int"})
        if not is_known or (kind == "bool" and wanted != _EQUAL):
            raise Unknown
        return _pair_tests.PairOrder(kind, one.row, one.index, other.row, other.index, wanted, takes_null)

    def _in(self, value: Part, items: Part) -> RowTest:
        if isinstance(items, checked.ListOf):
            constants = [item for item in items.items if isinstance(item, checked.Constant)]
            is_known = any(constant.value is not None for constant in constants)
            if is_known and len(constants) == len(items.items):
                return self._one_of(value, constants)
        if isinstance(items, checked.Column) and isinstance(value, checked.Constant) and items.type.name == "list":
            text = _text(value)
            if items.type.parameter(0).name == value.type.name and text is not None:
                delimiter = ord(delimiter_of(self._type_names[items.index]))
                membership = _readers.Membership(text.decode(), delimiter, _no_answer)
                return _text_tests.ArrayHas(items.row, items.index, None, membership)
        raise Unknown

    def _one_of(self, value: Part, constants: Sequence[checked.Constant]) -> RowTest:
        """`==` and `in`."""
        if len(constants) > _MOST_CONSTANTS:
            raise Unknown
        others = [constant for constant in constants if constant.value is not None]
        has_null = len(others) < len(constants)
        if is_computed(value):  # it is never null
            return rows.AnyOf([number_order(value, other, _EQUAL) for other in others])
        if isinstance(value, checked.ActionName):
            return rows.ActionIs([str(other.value) for other in others])
        if not isinstance(value, checked.Column) or value.type.name == "dyn":
            return self._json_one_of(value, others, has_null=has_null)
        texts = [text for other in others if other.type.name == value.type.name and (text := _text(other)) is not None]
        if len(texts) == len(others):
            return self._texts(value, has_null, texts)
        tests = [self._order(value, other, _EQUAL, of_null=has_null) for other in others]
        return tests[0] if len(tests) == 1 else rows.AnyOf(tests)

    def _texts(self, column: checked.Column, of_null: bool | None, texts: Sequence[bytes]) -> RowTest:
        if not texts:
            return rows.IsNull(column.row, column.index, of_null)
        return _text_tests.TextIsOneOf(column.row, column.index, of_null, texts)

    def _order(self, one: Part, other: Part, wanted: int, *, of_null: bool | None) -> RowTest:
        if not isinstance(other, checked.Constant):
            raise Unknown
        value = other.value
        if not isinstance(one, checked.Column) or one.type.name == "dyn":
            return self._json_order(one, value, wanted, of_null=of_null)
        row, column = one.row, one.index
        match one.type.name, other.type.name:
            case "string", "string":
                return _text_tests.TextOrder(row, column, of_null, wanted, _encoded(value))
            case "int", "int":
                return _number_tests.IntegerOrder(row, column, of_null, wanted, value)
            case "double", "double" if not math.isnan(value):
                return _number_tests.DoubleOrder(row, column, of_null, wanted, value)
            case "numeric", "numeric" | "int" | "double" if math.isfinite(value):
                return _number_tests.NumericOrder(row, column, of_null, wanted, format(Decimal(value), "f").encode())
            case ("timestamp", "timestamp") | ("duration", "duration"):
                us, rest = divmod(int(value), 1000)
                if abs(us) <= _MAX_US:
                    is_span = one.type.name == "duration"
                    return _number_tests.TimeOrder(row, column, of_null, wanted, is_span, us, rest > 0)
        raise Unknown

    def _call(self, part: checked.Apply) -> RowTest:
        match part:
            case checked.Apply(
                function="startsWith" | "endsWith" | "contains",
                arguments=(checked.Column() as column, checked.Constant(value=str() as text)),
            ) if column.type.name == "string":
                return _text_tests.TextHas(column.row, column.index, None, _encoded(text), part.function)
            case checked.Apply(function="matches", arguments=(checked.Column() as column,)) if (
                column.type.name == "string" and (patterns := simple_patterns(part.pattern))
            ):
                tests = [text_matches(column.row, column.index, pattern) for pattern in patterns]
                return tests[0] if len(tests) == 1 else rows.AnyOf(tests)
            case checked.Apply(function="has", arguments=(document,), extra=str() as name):
                column, path, is_binary = self._field(document)
                return _json_tests.JsonHas(column.row, column.index, None, (*path, _encoded(name)), is_binary)
        raise Unknown

    # ------------------------------------------------------------------------------------ JSON

    def _field(self, part: Part) -> tuple[checked.Column, tuple[bytes, ...], bool]:
        """A JSON column, the names of the fields on the way to the part, and whether it is a jsonb."""
        match part:
            case checked.Column() if part.type.name == "dyn":
                return part, (), self._type_names[part.index] == "jsonb"
            case checked.At(items=items, index=checked.Constant(value=str() as name)):
                column, path, is_binary = self._field(items)
                return column, (*path, _encoded(name)), is_binary
        raise Unknown

    def _json_truth(self, part: Part) -> RowTest:
        column, path, is_binary = self._field(part)
        return _json_tests.JsonIsTrue(column.row, column.index, None, path, is_binary)

    def _json_one_of(self, part: Part, constants: Sequence[checked.Constant], *, has_null: bool) -> RowTest:
        column, path, is_binary = self._field(part)
        of_null = None if path else has_null
        values = [constant.value for constant in constants]
        texts = [_encoded(value) for value in values if isinstance(value, str)]
        words = [_WORDS[value] for value in values if isinstance(value, bool)]
        numbers = [value for value in values if type(value) in {int, float}]
        if len(texts) + len(words) + len(numbers) < len(values):
            raise Unknown
        tests: list[RowTest] = [
            self._json_order(part, number, _EQUAL, of_null=of_null, of_others=False) for number in numbers
        ]
        if texts or words or has_null:
            words += [_WORDS[None]] if has_null else []
            tests.append(_json_tests.JsonIsOneOf(column.row, column.index, of_null, path, is_binary, texts, words))
        return tests[0] if len(tests) == 1 else rows.AnyOf(tests)

    def _json_order(
        self, part: Part, value: object, wanted: int, *, of_null: bool | None, of_others: bool | None = None
    ) -> RowTest:
        column, path, is_binary = self._field(part)
        if not (type(value) is int or (type(value) is float and not math.isnan(value))):
            raise Unknown
        return _json_tests.JsonOrder(column.row, column.index, of_null, path, is_binary, wanted, value, of_others)


def _cost(part: Part) -> int:
    """How late a side comes."""
    columns = [below for below in parts_of(part) if isinstance(below, checked.Column)]
    return max((_COSTS.get(column.type.name, 0) for column in columns), default=0)


def _text(constant: checked.Constant) -> bytes | None:
    """PostgreSQL's text of a constant that is equal to what has the same text; None for other types."""
    value = constant.value
    if isinstance(value, bool):
        return b"t" if value else b"f"
    return _encoded(str(value)) if type(value) in {int, str} else None


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unknown from None


def _no_answer(_text: str) -> bool:
    raise NotImplementedError
