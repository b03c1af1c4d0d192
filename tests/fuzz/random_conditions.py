"""Random conditions on the columns of a table, and PostgreSQL's texts that are seldom in other tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from ditto.routing.conditions import TypedColumn

_SIGNS: Final = ("==", "!=", "<", "<=", ">", ">=")
_TEXTS: Final = ("", "a", "ab", "b", "é", "😀", "\\", '"', "a b", "a]}", "null", "t", "5", "\x7f", "\u2028", "z" * 70)
_PATTERNS: Final = (
    "^a",
    "b$",
    "^[a-c]+$",
    "a.b",
    "^[^a]{1,2}b",
    "",
    "$",
    "é",
    r"^\w+-?\d*$",
    "^a?[^b]*$",
    "^(a|é|😀)$",
    "^(ab?|[^a])|b$",
)
_NUMBERS: Final = (
    "0", "1", "-1", "5", "7", "100", "9007199254740992", "9007199254740993", "9223372036854775807",
    "-9223372036854775808", "1.0", "0.1", "-0.0", "1.5", "1e300", "1e-300", "9007199254740993.0",
    "9223372036854775808.0", "1e22", "123456789012345678901234567890.5", "0.000000000000000000001",
)  # fmt: skip
_PATHS: Final = ("", ".a", ".b", "['é']", ".a.b", ".a.a.a", "['a\\\"']", "['']", "['a.b']", '["k\\n"]')
_KEYS: Final = ("a", "a", "b", "é", "aa", 'a"', "a\\", "k\n", "", "a.b")
_MOMENTS: Final = (
    "2024-02-29T12:34:56.789Z", "2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2026-01-02T00:00:00.000000001Z",
)  # fmt: skip
_SPANS: Final = ("0", "1h", "-1h", "24h", "26h", "1us", "1ns", "-1ns", "1.5s", "87600h")
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "bool": ("t", "f"),
    "int4": ("0", "1", "-1", "5", "7", "100", "2147483647", "-2147483648"),
    "int8": (
        "0", "1", "-1", "5", "9007199254740992", "9007199254740993", "9223372036854775807", "-9223372036854775808",
    ),
    "oid": ("0", "5", "4294967295"),
    "float4": ("0", "-0", "1", "1.5", "0.1", "1e+20", "3.4028235e+38", "1e-45", "NaN", "Infinity", "-Infinity"),
    "float8": (
        "0", "-0", "1", "0.1", "1.5", "1e+22", "1e+23", "1e+300", "5e-324", "1.7976931348623157e+308",
        "9.007199254740992e+15", "0.30000000000000004", "9007199254740993", "NaN", "Infinity", "-Infinity",
    ),
    "numeric": (
        "0", "0.000", "1", "1.000", "-1", "0.1", "0.10", "1.5", "100", "99.99999999999999999999", "1" + "0" * 300,
        "-" + "9" * 100, "0." + "0" * 20 + "1", "9223372036854775808", "9007199254740993", "9007199254740992.5",
        "123456789012345678901234567890.5", "NaN", "Infinity", "-Infinity", "0." + "123" * 40,
    ),
    "date": ("2026-01-02", "1970-01-01", "2024-02-29", "0044-03-15 BC", "infinity", "-infinity", "10000-01-01"),
    "timestamp": (
        "2026-01-02 03:04:05", "2026-01-02 00:00:00", "1969-12-31 23:59:59.999999", "2024-02-29 12:34:56.789",
        "0044-03-15 00:00:00 BC", "infinity", "-infinity", "294276-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999",
    ),
    "interval": (
        "00:00:00", "01:00:00", "-01:00:00", "1 day", "24:00:00", "1 day 02:00:00", "-1 days +26:00:00", "1 mon",
        "1 year", "-1 years -2 mons +3 days", "00:00:00.000001", "26:00:00", "infinity", "-infinity", "87600:00:00",
        "PT1H", "P1DT2H", "PT-0.5S", "P1M", "3650 days", "1000000000:00:00", "-00:00:01.5",
    ),
    "text": _TEXTS,
    "bpchar": ("a  ", "ab ", "   "),
    "public.mood": ("a", "happy", "b"),
    "uuid": ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",),
    "bytea": ("\\x", "\\x00ff", "\\x61"),
    "text[]": (
        "{}", "{a}", '{a,"b,c",NULL,"NULL"}', '{"\\"q\\\\"}', "{{a,b},{c,d}}", "[2:3]={a,b}", '{"",é,"a b"}', '{"\\a"}',
    ),
    "int4[]": ("{}", "{1,NULL,5}", "{{1,2},{3,4}}", "[0:1]={5,6}", "{-1}"),
    "bool[]": ("{t,f}", "{}", "{NULL}"),
    "public.hstore": ("", '"a"=>"1"', '"a"=>NULL, "b"=>"é"'),
}  # fmt: skip
_ZONED: Final = "timestamptz"
TYPES: Final = (*_VALUES, _ZONED, "json", "jsonb", "jsonb")


def make_text(chance: random.Random, type_name: str) -> str:
    """As PostgreSQL writes a value of this type."""
    if type_name in {"json", "jsonb"}:
        return _document(chance, 3, is_binary=type_name == "jsonb")
    if type_name == _ZONED:
        text = chance.choice(_VALUES["timestamp"])
        return text if "infinity" in text else f"{text.removesuffix(' BC')}+00{' BC' if text.endswith('BC') else ''}"
    if type_name in {"int4", "int8", "numeric", "float8"} and chance.random() < 0.3:
        number = str(chance.randint(-(10 ** chance.randint(1, 9)), 10**9))
        return number if type_name[0] == "i" else f"{number}.{chance.randint(1, 10**6)}"
    return chance.choice(_VALUES[type_name])


def _document(chance: random.Random, depth: int, *, is_binary: bool) -> str:
    space = " " if is_binary else chance.choice(["", "", " ", "\n\t\r "])
    kind = chance.randrange(6) if depth else 0
    if kind < 2:
        return f"{space}{_leaf(chance, is_binary=is_binary)}{space}".strip(" " if is_binary else "")
    if kind == 2:
        items = [_document(chance, depth - 1, is_binary=is_binary) for _ in range(chance.randrange(3))]
        return f"[{','.join(items)}]"
    names = [chance.choice(_KEYS) for _ in range(chance.randrange(5))]
    if is_binary:
        names = list(dict.fromkeys(names))
    fields = []
    for name in names:
        key = json.dumps(name, ensure_ascii=not is_binary and chance.random() < 0.3)
        if not is_binary and chance.random() < 0.1:
            key = key.replace("a", "\\u0061")
        fields.append(f"{space}{key}{'' if is_binary else space}:{_document(chance, depth - 1, is_binary=is_binary)}")
    return f"{{{','.join(fields)}{'' if is_binary else space}}}"


_JSON_NUMBERS: Final = (
    "0", "-0", "1", "5", "7", "-1", "9007199254740992", "9007199254740993", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "1" + "0" * 60, "12345678901234567890",
    "0.1", "1.0", "1.50", "5.0", "-0.0", "9007199254740993.0", "0.30000000000000004", "1" + "0" * 400,
    "0." + "1" * 70,
)  # fmt: skip
_PLAIN_NUMBERS: Final = ("1e400", "-1e400", "1E+2", "1e0", "0e0", "1E-400", "1e5", "50e-1")


def _leaf(chance: random.Random, *, is_binary: bool) -> str:
    kind = chance.randrange(3)
    if kind == 0:
        return chance.choice(["null", "true", "false"])
    if kind == 1:
        return chance.choice(_JSON_NUMBERS if is_binary else (*_JSON_NUMBERS, *_PLAIN_NUMBERS))
    text = json.dumps(chance.choice(_TEXTS), ensure_ascii=not is_binary and chance.random() < 0.3)
    return (
        text if is_binary or chance.random() < 0.9 else chance.choice(['"\\ud800"', '"\\u0000"', '"\\/a"', '"\\u0061"'])
    )


def make_condition(chance: random.Random, columns: Sequence[TypedColumn], *, depth: int = 2) -> str:
    """The text; one in some is refused."""
    kind = chance.randrange(8) if depth else 7
    if kind < 3:
        sign = chance.choice([" && ", " || "])
        parts = [make_condition(chance, columns, depth=depth - 1) for _ in range(chance.randint(2, 3))]
        return f"({sign.join(parts)})"
    if kind == 3:
        return f"!{make_condition(chance, columns, depth=depth - 1)}"
    if kind == 4 and chance.random() < 0.2:
        one, two, three = (make_condition(chance, columns, depth=depth - 1) for _ in range(3))
        return f"({one} ? {two} : {three})"
    return f"({_test(chance, columns)})"


def _name(chance: random.Random, column: TypedColumn) -> str:
    return f"{chance.choice(['data', 'data', 'row', 'row', 'dataOld'])}[{json.dumps(column.name, ensure_ascii=False)}]"


def _test(chance: random.Random, columns: Sequence[TypedColumn]) -> str:
    column = chance.choice(columns)
    name = _name(chance, column)
    kind = chance.randrange(20)
    if kind == 0:
        return f"has({name})"
    if kind == 1:
        return f"changed({json.dumps(column.name, ensure_ascii=False)})"
    if kind == 2:
        return chance.choice(
            ["action == 'UPDATE'", "action in ['INSERT', 'READ', 'DELETE']", "action != 'DELETE'", "true"]
        )
    if kind < 6:
        same = [other for other in columns if other.type_name == column.type_name or chance.random() < 0.1]
        return f"{name} {chance.choice(_SIGNS)} {_name(chance, chance.choice(same or columns))}"
    if kind == 6:
        return f"{name} {chance.choice(['==', '!='])} null"
    type_name = column.type_name
    if kind < 9 and type_name in _COMPUTED:
        return _computed(chance, column, columns)
    if type_name in {"json", "jsonb"}:
        return _of_json(chance, name + chance.choice(_PATHS))
    if type_name.endswith("[]"):
        return f"{_constant(chance, type_name[:-2])} in {name}"
    if type_name == "public.hstore":
        return chance.choice([f"'a' in {name}", f"{name}.a == '1'", f"has({name}.b)"])
    if type_name == "bool" and kind < 12:
        return name
    if kind < 10 and type_name in {"text", "bpchar", "public.mood"}:
        call = chance.choice(["startsWith", "endsWith", "contains"])
        text = f"{name}.{call}({_text(chance)})"
        return chance.choice([text, f"{name}.matches({json.dumps(chance.choice(_PATTERNS), ensure_ascii=False)})"])
    return _compared(chance, name, type_name)


_OPERATORS: Final = {
    **dict.fromkeys(("int4", "int8", "oid"), "+-*/%"),
    **dict.fromkeys(("float4", "float8"), "+-*/"),
    "numeric": "+-*",
    **dict.fromkeys(("date", "timestamp", _ZONED, "interval"), "+-"),
}
_COMPUTED: Final = {*_OPERATORS, "text", "bpchar"}
_PARTS: Final = ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "Hours", "Minutes", "Seconds", "Milliseconds")


def _computed(chance: random.Random, column: TypedColumn, columns: Sequence[TypedColumn]) -> str:
    name, type_name, sign = _name(chance, column), column.type_name, chance.choice(_SIGNS)
    if type_name in {"text", "bpchar"}:
        return f"size({name}) {sign} {chance.randint(0, 4)}"
    is_moment = type_name in {"date", "timestamp", _ZONED}
    if is_moment and chance.random() < 0.3:
        return f"{name}.get{chance.choice(_PARTS)}() {sign} {chance.choice([0, 1, 2, 12, 29, 31, 59, 1969, 2024])}"
    operator = chance.choice(_OPERATORS[type_name])
    if is_moment and (operator == "+" or chance.random() < 0.4):
        return f"{name} {operator} {_constant(chance, 'interval')} {sign} {_constant(chance, type_name)}"
    same = [other for other in columns if other.type_name == type_name]
    value = chance.choice([_name(chance, chance.choice(same)), _name(chance, column), _constant(chance, type_name)])
    if type_name in {"int4", "int8", "numeric"} and chance.random() < 0.1:
        name, value, type_name = f"double({name})", _constant(chance, "float8"), "float8"
    right = _constant(chance, "interval" if is_moment else type_name)
    if chance.random() < 0.2 and not is_moment:
        right = f"{name} {chance.choice(_OPERATORS[type_name])} {right}"
    return f"{name} {operator} {value} {sign} {right}"


def _compared(chance: random.Random, name: str, type_name: str) -> str:
    kind = chance.randrange(6)
    if kind == 0:
        count = chance.choice([1, 2, 3, 32, 33, 40])
        items = [_constant(chance, type_name) for _ in range(count)]
        return f"{name} in [{', '.join([*items, *(['null'] if chance.random() < 0.3 else [])])}]"
    sign, constant = chance.choice(_SIGNS), _constant(chance, type_name)
    return f"{constant} {sign} {name}" if kind == 1 else f"{name} {sign} {constant}"


def _text(chance: random.Random) -> str:
    if chance.random() < 0.05:
        return chance.choice(["'\\000'", "'\\x00a'", "'\\u0061'", "'''a'''", "r'\\'"])
    return json.dumps(chance.choice(_TEXTS), ensure_ascii=False)


def _constant(chance: random.Random, type_name: str) -> str:
    if type_name == "bool":
        return chance.choice(["true", "false"])
    if type_name in {"int4", "int8", "oid"}:
        return chance.choice([each for each in _NUMBERS if each.lstrip("-").isdecimal()])
    if type_name in {"float4", "float8"}:
        return chance.choice([each for each in _NUMBERS if not each.lstrip("-").isdecimal()])
    if type_name == "numeric":
        return chance.choice(_NUMBERS)
    if type_name in {"date", "timestamp", _ZONED}:
        return f"timestamp('{chance.choice(_MOMENTS)}')"
    if type_name == "interval":
        return f"duration('{chance.choice(_SPANS)}')"
    return "b'a'" if type_name == "bytea" else _text(chance)


def _of_json(chance: random.Random, value: str) -> str:
    constant = chance.choice([_text(chance), chance.choice(_NUMBERS), chance.choice(["null", "true", "false"])])
    kind = chance.randrange(6)
    if kind == 0:
        return value
    if kind == 1 and value[-1] != '"':
        return f"has({value}.a)"
    if kind == 2:
        items = [chance.choice([_text(chance), chance.choice(_NUMBERS), "null", "true"]) for _ in range(3)]
        return f"{value} in [{', '.join(items)}]"
    if kind == 3:
        return f"{chance.choice(_NUMBERS)} {chance.choice(_SIGNS)} {value}"
    return f"{value} {chance.choice(_SIGNS)} {constant}"
