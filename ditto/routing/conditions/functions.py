"""The operators and functions of a condition: for each combination of types the code that does it.

`{0}` and `{1}` are the arguments, evaluated already and never null. The same table serves where types are known before
(the code is put in place) and where they are known only from the values (`call`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ditto.routing.conditions import instants, values
from ditto.routing.conditions.errors import Failure
from ditto.routing.conditions.value_types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NUMERIC,
    STRING,
    TIMESTAMP,
    Type,
    list_of,
    map_of,
)


class Overload(NamedTuple):
    """One combination of types."""

    arguments: tuple[Type, ...]
    result: Type
    code: str
    is_dynamic_only: bool = False
    """Not where both types are known: CEL wants a conversion there."""


_LIST: Final = list_of(DYN)
_MAP: Final = map_of(DYN, DYN)
_ORDERED: Final = (BOOL, INT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION)


def _order(sign: str) -> list[Overload]:
    """`<`, `<=`, `>` and `>=`."""
    exact = "numeric_le" if "=" in sign else "numeric_lt"
    code = f"{exact}({{0}}, {{1}})" if sign[0] == "<" else f"{exact}({{1}}, {{0}})"
    mixed = ((NUMERIC, NUMERIC), (NUMERIC, INT), (INT, NUMERIC), (NUMERIC, DOUBLE), (DOUBLE, NUMERIC))
    return [
        *(Overload((type_, type_), BOOL, f"{{0}} {sign} {{1}}") for type_ in _ORDERED),
        *(Overload(pair, BOOL, code) for pair in mixed),
        Overload((INT, DOUBLE), BOOL, f"float({{0}}) {sign} {{1}}", is_dynamic_only=True),
        Overload((DOUBLE, INT), BOOL, f"{{0}} {sign} float({{1}})", is_dynamic_only=True),
    ]


def _exact(operation: str) -> list[Overload]:
    """Of numerics, and of one with an integer."""
    code = f"exactly('{operation}', {{0}}, {{1}})"
    return [Overload(pair, NUMERIC, code) for pair in ((NUMERIC, NUMERIC), (NUMERIC, INT), (INT, NUMERIC))]


def _same(types: tuple[Type, ...], code: str) -> list[Overload]:
    return [Overload((type_, type_), type_, code) for type_ in types]


FUNCTIONS: Final[dict[str, list[Overload]]] = {
    "_<_": _order("<"),
    "_<=_": _order("<="),
    "_>_": _order(">"),
    "_>=_": _order(">="),
    "_+_": [
        Overload((INT, INT), INT, "int64({0} + {1})"),
        *_same((DOUBLE, STRING, BYTES, _LIST), "{0} + {1}"),
        *_exact("add"),
        Overload((TIMESTAMP, DURATION), TIMESTAMP, "in_range({0} + short({1}))"),
        Overload((DURATION, TIMESTAMP), TIMESTAMP, "in_range(short({0}) + {1})"),
        Overload((DURATION, DURATION), DURATION, "short({0} + {1})"),
    ],
    "_-_": [
        Overload((INT, INT), INT, "int64({0} - {1})"),
        Overload((DOUBLE, DOUBLE), DOUBLE, "{0} - {1}"),
        *_exact("subtract"),
        Overload((TIMESTAMP, TIMESTAMP), DURATION, "short({0} - {1})"),
        Overload((TIMESTAMP, DURATION), TIMESTAMP, "in_range({0} - short({1}))"),
        Overload((DURATION, DURATION), DURATION, "short({0} - {1})"),
    ],
    "_*_": [
        Overload((INT, INT), INT, "int64({0} * {1})"),
        Overload((DOUBLE, DOUBLE), DOUBLE, "{0} * {1}"),
        *_exact("multiply"),
    ],
    "_/_": [
        Overload((INT, INT), INT, "divide({0}, {1})"),
        Overload((DOUBLE, DOUBLE), DOUBLE, "divide_doubles({0}, {1})"),
    ],
    "_%_": [Overload((INT, INT), INT, "remainder({0}, {1})")],
    "-_": [
        Overload((INT,), INT, "int64(-{0})"),
        Overload((DOUBLE,), DOUBLE, "-{0}"),
        Overload((NUMERIC,), NUMERIC, "{0}.copy_negate()"),
    ],
    "!_": [Overload((BOOL,), BOOL, "not {0}")],
    "size": [
        Overload((STRING,), INT, "len({0})"),
        Overload((BYTES,), INT, "len({0})"),
        Overload((_LIST,), INT, "len({0})"),
        Overload((_MAP,), INT, "len({0})"),
    ],
    "contains": [Overload((STRING, STRING), BOOL, "{1} in {0}")],
    "startsWith": [Overload((STRING, STRING), BOOL, "{0}.startswith({1})")],
    "endsWith": [Overload((STRING, STRING), BOOL, "{0}.endswith({1})")],
    "int": [
        Overload((INT,), INT, "{0}"),
        Overload((DOUBLE,), INT, "int_of_double({0})"),
        Overload((NUMERIC,), INT, "int_of_numeric({0})"),
        Overload((STRING,), INT, "int_of_text({0})"),
        Overload((TIMESTAMP,), INT, "seconds_of(in_range({0}))"),
    ],
    "double": [
        Overload((DOUBLE,), DOUBLE, "{0}"),
        Overload((INT,), DOUBLE, "float({0})"),
        Overload((NUMERIC,), DOUBLE, "float({0})"),
        Overload((STRING,), DOUBLE, "double_of_text({0})"),
    ],
    "string": [
        Overload((STRING,), STRING, "{0}"),
        Overload((INT,), STRING, "str({0})"),
        Overload((DOUBLE,), STRING, "text_of_double({0})"),
        Overload((NUMERIC,), STRING, "format({0}, 'f')"),
        Overload((BOOL,), STRING, "('true' if {0} else 'false')"),
        Overload((BYTES,), STRING, "text_of_bytes({0})"),
        Overload((TIMESTAMP,), STRING, "timestamp_text({0})"),
        Overload((DURATION,), STRING, "duration_text({0})"),
    ],
    "bytes": [Overload((BYTES,), BYTES, "{0}"), Overload((STRING,), BYTES, "bytes_of_text({0})")],
    "bool": [Overload((BOOL,), BOOL, "{0}"), Overload((STRING,), BOOL, "bool_of_text({0})")],
    "timestamp": [
        Overload((TIMESTAMP,), TIMESTAMP, "{0}"),
        Overload((STRING,), TIMESTAMP, "parse_timestamp({0})"),
        Overload((INT,), TIMESTAMP, "in_range({0} * SECOND)"),
    ],
    "duration": [
        Overload((DURATION,), DURATION, "{0}"),
        Overload((STRING,), DURATION, "parse_duration({0})"),
    ],
    # With a time zone too: the checker puts it in place of `{1}`.
    "getFullYear": [Overload((TIMESTAMP,), INT, "local({0}{1}).year")],
    "getMonth": [Overload((TIMESTAMP,), INT, "local({0}{1}).month - 1")],
    "getDate": [Overload((TIMESTAMP,), INT, "local({0}{1}).day")],
    "getDayOfMonth": [Overload((TIMESTAMP,), INT, "local({0}{1}).day - 1")],
    "getDayOfWeek": [Overload((TIMESTAMP,), INT, "local({0}{1}).isoweekday() % 7")],
    "getDayOfYear": [Overload((TIMESTAMP,), INT, "local({0}{1}).timetuple().tm_yday - 1")],
    "getHours": [
        Overload((TIMESTAMP,), INT, "local({0}{1}).hour"),
        Overload((DURATION,), INT, "towards_zero(short({0}), 3600 * SECOND)"),
    ],
    "getMinutes": [
        Overload((TIMESTAMP,), INT, "local({0}{1}).minute"),
        Overload((DURATION,), INT, "towards_zero(short({0}), 60 * SECOND)"),
    ],
    "getSeconds": [
        Overload((TIMESTAMP,), INT, "local({0}{1}).second"),
        Overload((DURATION,), INT, "towards_zero(short({0}), SECOND)"),
    ],
    "getMilliseconds": [
        Overload((TIMESTAMP,), INT, "local({0}{1}).microsecond // 1000"),
        Overload((DURATION,), INT, "towards_zero(short({0}), 1000000) - towards_zero({0}, SECOND) * 1000"),
    ],
}
METHODS: Final = frozenset({"size", "contains", "startsWith", "endsWith", "matches"}) | {
    name for name in FUNCTIONS if name.startswith("get")
}
"""What is written behind a value and a dot."""
GLOBALS: Final = frozenset(
    {"size", "matches", "int", "double", "string", "bytes", "bool", "timestamp", "duration", "dyn"}
)
"""What is written with its value in parentheses."""

NAMESPACE: Final[dict[str, Any]] = {
    name: value for module in (values, instants) for name, value in vars(module).items() if not name.startswith("__")
} | {"Failure": Failure}
"""What the code of the overloads refers to."""


def is_zoned(function: str) -> bool:
    """Whether the function may have a time zone as its last argument."""
    return function.startswith("get")


def _compiled(overload: Overload) -> Callable[..., Any]:
    names = ("a", "b")[: len(overload.arguments)]
    code = overload.code.format("a", "b" if len(names) > 1 else "")
    made: Callable[..., Any] = eval(f"lambda {', '.join(names)}: {code}", NAMESPACE)  # noqa: S307 -- of the table above
    return made


_BY_CLASSES: Final[dict[tuple[Any, ...], Callable[..., Any]]] = {
    (function, *(type_.classes[0] for type_ in overload.arguments)): _compiled(overload)
    for function, overloads in FUNCTIONS.items()
    for overload in overloads
}


def call(function: str, *arguments: Any) -> Any:
    """The function for values whose types are known only now."""
    found = _BY_CLASSES.get((function, *map(type, arguments)))
    if found is None:
        raise values.no_overload(function, *arguments)
    return found(*arguments)


NAMESPACE["call"] = call
