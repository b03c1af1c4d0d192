"""Checked tree to Python: one function a condition, without a call for what Python has an operator for.

The function gets PostgreSQL's text of the columns and converts what it comes to. `&&` and `||` are commutative in CEL,
and one side that decides outweighs an error of the other, so that cheap sides come first, and a side that may fail has
a `try` around it only where another one comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, Final

from msgspec import UNSET

from ditto.decoding.messages import RuleFailed
from ditto.routing.conditions import checked
from ditto.routing.conditions.checked import Part, parts_of
from ditto.routing.conditions.columns import TypedColumn, delimiter_of, kind_of
from ditto.routing.conditions.errors import Failure
from ditto.routing.conditions.failures import not_sent, null_value, weight
from ditto.routing.conditions.functions import NAMESPACE
from ditto.routing.conditions.readers import membership
from ditto.routing.conditions.values import as_map

_PREFIX: Final = {"data": "n", "dataOld": "o", "row": "r"}
_BY_TEXT: Final = frozenset({"int", "string", "bool"})
"""Types of which two values are equal exactly if PostgreSQL's texts are."""
_SETS: Final = _BY_TEXT | {"numeric", "timestamp", "duration", "bytes"}
"""Types whose values may be in a set of Python's: equal there exactly if they are in CEL."""
_ORDERS: Final = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
_SCALARS: Final = _SETS | {"double", "null"}


class TooDeep(Exception):
    """Python does not compile it."""


_NAMESPACE: Final[dict[str, Any]] = {
    **NAMESPACE,
    "UNSET": UNSET,
    "RuleFailed": RuleFailed,
    "not_sent": not_sent,
    "null_value": null_value,
}


def compiled(
    part: Part, columns: tuple[TypedColumn, ...], rule: str
) -> tuple[tuple[int, ...], Callable[..., bool], str]:
    """Indexes of the columns that the function wants the texts of, the function, and its source. Raises TooDeep."""
    writer = _Writer(part, columns)
    source = writer.function(part)
    namespace = {**_NAMESPACE, **writer.constants, "RULE": rule}
    try:
        code: CodeType = compile(source, "<condition>", "exec", dont_inherit=True)
    except (SyntaxError, RecursionError, MemoryError):
        raise TooDeep from None
    exec(code, namespace)  # noqa: S102 -- of the checked tree: names of its own, literals by repr
    return writer.columns, namespace["test"], source


class _Writer:
    """Writes the function of one condition."""

    def __init__(self, part: Part, columns: tuple[TypedColumn, ...]) -> None:
        self.constants: dict[str, Any] = {}
        self._types = [column.type_name for column in columns]
        self._kinds = [kind_of(type_name) for type_name in self._types]
        self._lines: list[str] = []
        self._indent = 2
        self._names = 0
        reads = [below for below in parts_of(part) if isinstance(below, checked.Column)]
        self._texts: dict[tuple[str, int], None] = {}
        for below in parts_of(part):
            if isinstance(below, checked.Column | checked.Sent):
                self._texts[below.row, below.index] = None
            elif isinstance(below, checked.Changed):
                self._texts["data", below.index] = self._texts["dataOld", below.index] = None
        self.columns = tuple(sorted({index for _, index in self._texts}))
        self._kept = {
            (read.row, read.index)
            for read in reads
            if read.type.name != "string" and sum((read.row, read.index) == (r.row, r.index) for r in reads) > 1
        }
        """Columns that are read more than once: their value is kept."""

    def function(self, part: Part) -> str:
        """The whole source."""
        value = self._truth(part)
        body = self._lines
        self._lines = []
        self._indent = 1
        for row, texts in (("data", "new"), ("dataOld", "old"), ("row", "row")):
            used = [index for read, index in self._texts if read == row]
            if not used:
                continue
            if row == "row":
                self._line("row = old if action == 'DELETE' else new")
            names = [f"{_PREFIX[row]}{index}" for index in used]
            self._line(f"if {texts} is None:")
            self._line(f"    {' = '.join(names)} = UNSET")
            self._line("else:")
            for name, index in zip(names, used, strict=True):
                self._line(f"    {name} = {texts}[{self.columns.index(index)}]")
        for row, index in sorted(self._kept):
            self._line(f"k{_PREFIX[row]}{index} = UNSET")
        return "\n".join(
            [
                "def test(action, new, old):",
                *self._lines,
                "    try:",
                *body,
                f"        return {value}",
                "    except Failure as failure:",
                "        raise RuleFailed(RULE, str(failure)) from None",
                "",
            ]
        )

    def _line(self, line: str) -> None:
        self._lines.append("    " * self._indent + line)

    @contextmanager
    def _block(self, head: str) -> Iterator[None]:
        self._line(head)
        self._indent += 1
        yield
        self._indent -= 1

    def _name(self, prefix: str = "t") -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def _kept_as(self, expression: str) -> str:
        name = self._name()
        self._line(f"{name} = {expression}")
        return name

    def _constant(self, value: Any) -> str:
        if value is None or type(value) in {bool, int, str}:
            return repr(value)
        name = self._name("c")
        self.constants[name] = value
        return name

    def _value(self, part: Part) -> str:
        """Writes what makes the value, and returns an expression without effects for it."""
        match part:
            case checked.Constant(value=value):
                return self._constant(value)
            case checked.ActionName():
                return "action"
            case checked.Variable(number=number):
                return f"x{number}"
            case checked.Column():
                return self._column(part, needs_value=False)
            case checked.Sent(row=row, index=index):
                return f"({_PREFIX[row]}{index} is not UNSET)"
            case checked.Changed():
                return self._changed(part)
            case checked.Equal():
                return self._equal(part)
            case checked.In():
                return self._in(part)
            case checked.At(items=items, index=index):
                at = "at_key" if isinstance(index, checked.Constant) and type(index.value) is str else "at"
                return self._kept_as(f"{at}({self._value(items)}, {self._value(index)})")
            case checked.Logic():
                return self._logic(part)
            case checked.Choice():
                return self._choice(part)
            case checked.ListOf(items=items):
                if all(isinstance(item, checked.Constant) for item in items):
                    return self._constant([item.value for item in items if isinstance(item, checked.Constant)])
                return self._kept_as(f"[{', '.join([self._value(item) for item in items])}]")
            case checked.MapOf():
                return self._map(part)
            case checked.Loop():
                return self._loop(part)
            case checked.Apply():
                return self._apply(part)

    def _needed(self, part: Part) -> str:
        """The same, where null is an error."""
        if isinstance(part, checked.Column):
            return self._column(part, needs_value=True)
        value = self._value(part)
        if part.type.is_nullable:
            self._line(f"if {value} is None: raise null_value('')")
        return value

    def _truth(self, part: Part) -> str:
        """The same, where it has to be true or false."""
        if part.type.name == "dyn":
            return self._kept_as(f"need_bool({self._value(part)})")
        return self._needed(part)

    def _text(self, column: checked.Column) -> str:
        """PostgreSQL's text of a column, None of NULL."""
        name = f"{_PREFIX[column.row]}{column.index}"
        self._line(f"if {name} is UNSET: raise not_sent({column.row!r}, {column.name!r}, action)")
        return name

    def _column(self, column: checked.Column, *, needs_value: bool) -> str:
        text = self._text(column)
        if needs_value:
            self._line(f"if {text} is None: raise null_value({f'{column.row}.{column.name}'!r})")
        if column.type.name == "string":
            return text
        read = self._constant(self._kinds[column.index].read)
        converted = f"{text} == 't'" if column.type.name == "bool" else f"{read}({text})"
        expression = converted if needs_value else f"None if {text} is None else {converted}"
        if (column.row, column.index) not in self._kept:
            return self._kept_as(expression)
        kept = f"k{text}"
        self._line(f"if {kept} is UNSET: {kept} = {expression}")
        return kept

    def _changed(self, part: checked.Changed) -> str:
        new, old, name = f"n{part.index}", f"o{part.index}", self._name()
        if part.is_key:  # an old key that was not sent is the new one
            return self._kept_as(
                f"action != 'UPDATE' or ({old} is not UNSET and {new} is not UNSET and {new} != {old})"
            )
        self._line(f"{name} = action != 'UPDATE' or ({new} is not UNSET and {new} != {old})")
        self._line(f"if {name} and {old} is UNSET and action == 'UPDATE': raise not_sent('dataOld', {part.name!r}, '')")
        return name

    def _equal(self, part: checked.Equal) -> str:
        left, right = part.left, part.right
        if isinstance(left, checked.Constant):
            left, right = right, left
        is_, equals = ("is not", "!=") if part.is_negated else ("is", "==")
        if isinstance(right, checked.Constant):
            if right.value is None:
                value = self._text(left) if isinstance(left, checked.Column) and left.type.name != "dyn" else None
                return self._kept_as(f"{value or self._value(left)} {is_} None")
            if isinstance(left, checked.Column) and left.type.name == right.type.name and left.type.name in _BY_TEXT:
                return self._kept_as(f"{self._text(left)} {equals} {_text_of(right)!r}")
        one, other = self._value(left), self._value(right)
        if isinstance(right, checked.Constant) and right.type.name == "string":
            return self._kept_as(f"{one} {equals} {other}")  # whatever the other one is: a text equals texts alone
        if left.type.name in _SCALARS and right.type.name in _SCALARS:
            return self._kept_as(f"{one} {equals} {other}")
        return self._kept_as(f"{'not ' if part.is_negated else ''}equal({one}, {other})")

    def _in(self, part: checked.In) -> str:
        value, items = part.value, part.items
        if isinstance(items, checked.ListOf) and all(isinstance(item, checked.Constant) for item in items.items):
            constants = [item for item in items.items if isinstance(item, checked.Constant)]
            types = {item.type.name for item in constants} - {"null"}
            if types == {value.type.name} and types <= _SETS:
                if isinstance(value, checked.Column) and types <= _BY_TEXT:
                    texts = frozenset(_text_of(item) for item in constants)
                    return self._kept_as(f"{self._text(value)} in {self._constant(texts)}")
                return self._kept_as(
                    f"{self._value(value)} in {self._constant(frozenset(item.value for item in constants))}"
                )
        is_by_text = items.type.name == "list" and items.type.parameter(0).name == value.type.name in _BY_TEXT
        if is_by_text and isinstance(items, checked.Column) and isinstance(value, checked.Constant):
            return self._in_array(value, items)
        one, those = self._value(value), self._value(items)
        if is_by_text:
            return self._kept_as(f"{one} in {those} if {those} is not None else contains({those}, {one})")
        return self._kept_as(f"contains({those}, {one})")

    def _in_array(self, value: checked.Constant, items: checked.Column) -> str:
        """Membership by PostgreSQL's texts; `contains` says what is wrong with null."""
        has = self._constant(membership(_text_of(value) or "", delimiter_of(self._types[items.index])))
        text = self._text(items)
        return self._kept_as(f"{has}({text}) if {text} is not None else contains(None, {value.value!r})")

    def _logic(self, part: checked.Logic) -> str:
        *before, last = sorted(part.operands, key=weight)
        goes_on = "" if part.is_and else "not "
        result = self._kept_as(str(part.is_and))
        error = self._name("e") if any(map(weight, before)) else ""
        if error:
            self._line(f"{error} = None")
        for operand in before:
            with self._block(f"if {goes_on}{result}:"):
                if weight(operand) == 0:
                    self._line(f"{result} = {self._truth(operand)}")
                    continue
                with self._noting(error):
                    self._line(f"{result} = {self._truth(operand)}")
        with self._block(f"if {goes_on}{result}:"):
            self._line(f"{result} = {self._truth(last)}")
            if error:
                self._line(f"if {goes_on}{result} and {error} is not None: raise Failure({error})")
        return result

    @contextmanager
    def _noting(self, error: str) -> Iterator[None]:
        """A failure of what is written inside is noted: its text, as exception and frame would refer to each other."""
        with self._block("try:"):
            yield
        with self._block("except Failure as failure:"):
            self._line(f"{error} = failure.args[0]")

    def _choice(self, part: checked.Choice) -> str:
        result = self._name()
        with self._block(f"if {self._truth(part.condition)}:"):
            self._line(f"{result} = {self._value(part.yes)}")
        with self._block("else:"):
            self._line(f"{result} = {self._value(part.no)}")
        return result

    def _map(self, part: checked.MapOf) -> str:
        keys = [self._value(key) for key in part.keys]
        values = [self._value(value) for value in part.values]
        constants = [item for item in (*part.keys, *part.values) if isinstance(item, checked.Constant)]
        if len(constants) == len(keys) + len(values):
            try:
                half = len(keys)
                found = [item.value for item in constants]
                return self._constant(as_map(found[:half], found[half:]))
            except Failure:
                pass
        return self._kept_as(f"as_map([{', '.join(keys)}], [{', '.join(values)}])")

    def _apply(self, part: checked.Apply) -> str:
        if part.function == "dyn":
            return self._value(part.arguments[0])
        if part.function == "has":
            return self._kept_as(f"has_key({self._value(part.arguments[0])}, {part.extra!r})")
        if part.function == "matches":
            (text,) = part.arguments
            value = f"need_text({self._value(text)})" if text.type.name == "dyn" else self._needed(text)
            return self._kept_as(str(part.code).format(value, self._constant(part.extra)))
        if part.code is None:
            arguments = [self._value(argument) for argument in part.arguments]
            call = f"call({part.function!r}, {', '.join(arguments)})"
            if part.function in _ORDERS and (known := _class_of(part.arguments[1])):
                one, other = arguments
                call = f"{one} {part.function.strip('_')} {other} if type({one}) is {known} else {call}"
                return self._kept_as(call)
            return self._kept_as(f"need_class({call}, int)" if part.type.name == "int" else call)
        arguments = [self._needed(argument) for argument in part.arguments]
        if len(arguments) == 1:
            arguments.append("" if part.extra is None else f", {self._constant(part.extra)}")
        if part.code.startswith("numeric_"):
            return self._numeric_order(part.function.strip("_"), *arguments[:2])
        return self._kept_as(part.code.format(*arguments))

    def _numeric_order(self, sign: str, one: str, other: str) -> str:
        """`numeric_lt` and `numeric_le` in place: the call takes longer than the comparison."""
        result = self._name()
        with self._block("try:"):
            self._line(f"{result} = {one} {sign} {other}")
        with self._block("except InvalidOperation:"):
            self._line(f"{result} = False")
        return result

    def _loop(self, part: checked.Loop) -> str:
        items = self._value(part.items)
        if part.items.type.is_nullable or part.items.type.name != "list":
            items = f"each({items})"
        head = f"for {self._value(part.variable)} in {items}:"
        match part.macro:
            case "all" | "exists":
                return self._quantifier(part, head)
            case "exists_one":
                count = self._kept_as("0")
                with self._block(head), self._block(f"if {self._truth(part.condition)}:"):
                    self._line(f"{count} += 1")
                return f"({count} == 1)"
            case _:
                result = self._kept_as("[]")
                with self._block(head), self._block(f"if {self._truth(part.condition)}:"):
                    self._line(f"{result}.append({self._value(part.result)})")
                return result

    def _quantifier(self, part: checked.Loop, head: str) -> str:
        """`all` and `exists`: the first that decides ends it, and outweighs failures of others."""
        ends = "if not" if part.macro == "all" else "if"
        result, error = self._kept_as(str(part.macro == "all")), self._name("e")
        self._line(f"{error} = None")
        with self._block(head), self._noting(error), self._block(f"{ends} {self._truth(part.condition)}:"):
            self._line(f"{result} = {part.macro != 'all'}")
            self._line("break")
        self._line(f"if {error} is not None and {result} is {part.macro == 'all'}: raise Failure({error})")
        return result


def _class_of(part: Part) -> str:
    """The class of a constant whose order with others of its class is Python's; empty for all else."""
    if isinstance(part, checked.Constant) and type(part.value) in {int, str, float}:
        return type(part.value).__name__
    return ""


def _text_of(constant: checked.Constant) -> str | None:
    """PostgreSQL's text of a value of one of the types of `_BY_TEXT`."""
    value = constant.value
    if isinstance(value, bool):
        return "t" if value else "f"
    return None if value is None else str(value)
