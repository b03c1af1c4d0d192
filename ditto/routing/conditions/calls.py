"""Calls of functions and operators: which overload, what it gives, and what is wrong where there is none."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, get_args

from ditto.routing.conditions import checked, syntax
from ditto.routing.conditions.checked import Part
from ditto.routing.conditions.errors import ConditionError, Failure
from ditto.routing.conditions.functions import FUNCTIONS, GLOBALS, METHODS, NAMESPACE, Overload, is_zoned
from ditto.routing.conditions.instants import zone
from ditto.routing.conditions.patterns import compile_pattern
from ditto.routing.conditions.simple_patterns import compile_simple
from ditto.routing.conditions.value_types import BOOL, DYN, NUMERIC, Type, join

MACROS: Final = get_args(checked.Macro)
_MAX_NUMERIC_DIGITS: Final = 131_072 + 16_383
"""Of PostgreSQL's numbers."""


def _error(text: str, node: syntax.Node, message: str, hint: str | None = None) -> ConditionError:
    return ConditionError(message, text=text, offset=node.offset, hint=hint)


def apply(text: str, node: syntax.Call, arguments: tuple[Part, ...]) -> Part:
    """A call of a function, of a method, whose target is the first argument, or of an operator.

    `text` is the whole condition, for ConditionError, which is raised where no overload takes these types.
    """
    function = node.function
    is_operator = "_" in (function[0], function[-1]) and function not in GLOBALS
    known = METHODS if node.target is not None else GLOBALS
    if not is_operator and function not in known:
        raise _unknown(text, node)
    if function == "dyn" and len(arguments) == 1:
        return checked.Apply(DYN, "dyn", arguments, "{0}")
    if function == "matches":
        return _matches(text, node, arguments)
    extra = None
    if is_zoned(function) and len(arguments) == 2 and arguments[0].type.name == "timestamp":
        extra = _zone(text, node.arguments[0], arguments[1])
        arguments = arguments[:1]
    if len(arguments) == 2:
        arguments = (as_numeric(arguments[0], arguments[1]), as_numeric(arguments[1], arguments[0]))
    fitting = [overload for overload in FUNCTIONS.get(function, ()) if _fits(overload, arguments)]
    if not fitting:
        shown = function.strip("_") if is_operator else f"{function}()"
        types = " and ".join(str(argument.type) for argument in arguments) or "nothing"
        raise _error(text, node, f"{shown} does not work with {types}", mismatch_hint(*arguments, function=function))
    type_ = _result(fitting, arguments)
    is_known = len(fitting) == 1 and all(argument.type.name != "dyn" for argument in arguments)
    code = fitting[0].code if is_known else None
    if extra is not None and code is None:
        raise _error(text, node, "the time zone needs a timestamp", "as in timestamp(x).getHours('Europe/Berlin')")
    part = checked.Apply(type_, function, arguments, code, extra)
    return _worked_out(text, node, part)


def _worked_out(text: str, node: syntax.Call, part: checked.Apply) -> Part:
    """A constant, where all arguments are."""
    values = [argument.value for argument in part.arguments if isinstance(argument, checked.Constant)]
    if part.code is None or len(values) < len(part.arguments) or None in values:
        return part
    names = dict(zip("ab", values, strict=False))
    code = part.code.format("a", ", zone" if part.extra is not None else "b" if len(values) > 1 else "")
    try:
        value = eval(code, NAMESPACE, {**names, "zone": part.extra})  # noqa: S307 -- of the table of functions
    except Failure as failure:
        raise _error(text, node, str(failure)) from None
    return checked.Constant(part.type, value)


def _unknown(text: str, node: syntax.Call) -> ConditionError:
    function = node.function
    if function in METHODS and node.target is None:
        return _error(text, node, f"{function}() is written behind a value", f"as in data.x.{function}(…)")
    if function in GLOBALS or function in {"has", "changed"}:
        return _error(text, node, f"{function}() takes its value in parentheses", f"as in {function}(data.x)")
    known = {*METHODS, *GLOBALS, *MACROS, "has", "changed"}
    nearest = difflib.get_close_matches(function, known, 1)
    hint = f"is {nearest[0]}() meant?" if nearest else f"there are {', '.join(sorted(known))}"
    return _error(text, node, f"there is no function {function}()", hint)


def _matches(text: str, node: syntax.Call, arguments: tuple[Part, ...]) -> Part:
    if len(arguments) != 2 or arguments[0].type.name not in {"string", "dyn"}:
        raise _error(text, node, "matches() takes a string and a pattern", "as in data.name.matches('^a.*z$')")
    pattern = arguments[1]
    if not isinstance(pattern, checked.Constant) or not isinstance(pattern.value, str):
        raise _error(text, node, "the pattern of matches() is a text in quotes, which is checked when Ditto starts")
    try:
        compiled = compile_pattern(pattern.value)
    except ValueError as error:
        raise _error(text, node.arguments[-1], f"no pattern of RE2: {error}") from None
    value = arguments[0]
    # A column's text never has half of a surrogate pair, which RE2 fails at.
    simple = (
        compile_simple(pattern.value) if isinstance(value, checked.Column) and value.type.name == "string" else None
    )
    if simple is not None:
        return checked.Apply(BOOL, "matches", arguments[:1], "{1}({0}) is not None", simple, pattern.value)
    return checked.Apply(BOOL, "matches", arguments[:1], "{1}({0})", compiled, pattern.value)


def _zone(text: str, node: syntax.Node, part: Part) -> object:
    if not isinstance(part, checked.Constant) or not isinstance(part.value, str):
        raise _error(text, node, "a time zone is a text in quotes")
    try:
        return zone(part.value)
    except ValueError:
        raise _error(text, node, "there is no such time zone", "as in 'Europe/Berlin' or '+02:00'") from None


def as_numeric(part: Part, beside: Part) -> Part:
    """A number beside a numeric is the number that is written, and not the double nearest to it."""
    if beside.type.name != NUMERIC.name or not isinstance(part, checked.Constant) or not part.number:
        return part
    exact = Decimal(part.number) if "x" not in part.number else Decimal(part.value)
    return checked.Constant(NUMERIC, exact) if abs(exact.adjusted()) <= _MAX_NUMERIC_DIGITS else part


def _fits(overload: Overload, arguments: Sequence[Part]) -> bool:
    if len(overload.arguments) != len(arguments):
        return False
    if overload.is_dynamic_only and all(argument.type.name != "dyn" for argument in arguments):
        return False
    for wanted, argument in zip(overload.arguments, arguments, strict=True):
        if argument.type.name not in {wanted.name, "dyn"}:
            return False
    if overload.result == NUMERIC and len({wanted.name for wanted in overload.arguments}) > 1:
        # An integer beside what is only known to be dyn makes an integer in CEL, which has no numeric.
        return any(argument.type.name == NUMERIC.name for argument in arguments)
    one = arguments[0].type
    return not (one.name == "list" and len(arguments) == 2) or join(one, arguments[1].type) is not None


def _result(fitting: Sequence[Overload], arguments: Sequence[Part]) -> Type:
    names = {overload.result.name for overload in fitting}
    if names == {"list"}:
        one, other = (argument.type for argument in arguments)
        return (other if one.name == "dyn" else one if other.name == "dyn" else join(one, other)) or DYN
    return fitting[0].result if len(names) == 1 else DYN


def mismatch_hint(*arguments: Part, function: str = "") -> str | None:
    """What to write where types do not fit together."""
    types = {argument.type.name for argument in arguments}
    if types == {"int", "double"}:
        return "CEL does not mix them: write 10.0, or double(data.x)"
    if types == {"numeric", "double"}:
        return "a numeric is exact: write double(data.x)"
    if types == {"timestamp", "string"}:
        return "write timestamp('2024-12-31T23:59:59Z')"
    if types == {"duration", "string"}:
        return "write duration('1h30m')"
    if types in ({"string", "int"}, {"string", "double"}, {"string", "numeric"}):
        return "write a text in quotes and a number without, or convert with int(), double() or string()"
    if types == {"string", "bool"}:
        return "true and false are written without quotes"
    if "null" in types:
        return "only columns can be null"
    if function in {"_/_", "_%_"} and "numeric" in types:
        return "a quotient of numerics is not exact: write double(data.x)"
    return None
