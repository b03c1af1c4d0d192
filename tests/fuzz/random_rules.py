"""A random section `events` for random tables, and random changes of them, as PostgreSQL would send them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from unit import wire

from ditto.decoding.column_kinds import KINDS
from ditto.routing.conditions import ConditionError, TypedColumn, compile_condition
from fuzz import random_conditions

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

SECRET: Final = "Xq7Secret"
"""How the texts of columns begin that are left out or masked."""
LSN: Final = 0x16_B374D848
ENUM: Final = 90_001
_FORMATS: Final = (
    "ditto",
    "cloudevents",
    "cloudevents-binary",
    "debezium",
    "debezium-schema",
    "msgpack",
    "wal-listener",
)
_MASKS: Final[tuple[dict[str, Any], ...]] = (
    {"constant": "***"},
    {"keep_first": 1},
    {"keep_last": 2},
    {"hash": "sha256"},
    {"hash": "hmac-sha256", "key": "k" * 70},
    {"null": True},
)
_TEXTS: Final = ("", "a", "Zürich", "😀", 'a"\\\n\r\t', "%null", "a.b*>$", " x ", "\x01\x7f", "z" * 400, "null", "t")
_VALUES: Final[dict[int, tuple[str, ...]]] = {
    16: ("t", "f"),
    17: ("\\x", "\\x00ff0a", "\\x" + "ab" * 500),
    18: ("a", "é"),
    20: ("0", "-9223372036854775808", "9223372036854775807"),
    21: ("1", "-32768"),
    23: ("7", "-1", "2147483647"),
    25: _TEXTS,
    114: ("null", "{}", '{"a": [1, null, "x"]}', "1e400", '"😀"', "[[1]]"),
    600: ("(1,2.5)",),
    700: ("1.5", "NaN", "-Infinity", "1e+20"),
    701: ("0.1", "NaN", "Infinity", "-0", "1e-300"),
    869: ("10.0.0.1/8",),
    1007: ("{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}"),
    1009: ("{}", '{a,"b,c",NULL,"NULL"}', '{"\\"q\\\\"}'),
    1042: ("ab  ",),
    1043: _TEXTS,
    1082: ("2026-01-02", "infinity", "0044-03-15 BC", "10000-01-01"),
    1083: ("01:02:03.000004", "24:00:00"),
    1114: ("2026-01-02 03:04:05.678", "-infinity", "0044-03-15 00:00:00 BC", "294276-12-31 23:59:59.999999"),
    1184: ("2026-01-02 03:04:05.678+00", "infinity", "0044-03-15 00:00:00+00 BC"),
    1186: ("1 day 02:00:00", "-1 years -2 mons +3 days", "00:00:00.000001"),
    1266: ("01:02:03+02", "23:59:59.5-12:30"),
    1560: ("1", "0101"),
    1562: ("", "10101010101"),
    1700: ("1.50", "NaN", "-0.000001", "123456789012345678901234567890"),
    2950: ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",),
    2951: ("{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}",),
    3802: ("null", "{}", '{"b": 1.50}', "[]", '"' + "y" * 300 + '"'),
    ENUM: ("happy", "sad"),
}
"""PostgreSQL's texts, by the OID of their type."""
_PREFIXES: Final = ("orders.new", "orders.a b", "other", "orders.")
_CONTENTS: Final = (
    b"{}",
    b'{"ditto": {"headers": {"a": "b\\nc"}, "key": "k", "id": "mine"}, "payload": [1]}',
    b"\xff\x00",
    b"text",
    b'{"ditto": {"headers": {"Ditto-Id": "x"}}, "payload": 1}',
    b"",
)


class Table(NamedTuple):
    """A table."""

    oid: int
    name: str
    columns: list[wire.Column]
    identity: str
    hidden: frozenset[str]
    """The columns that are left out or masked."""


def make_table(chance: random.Random, oid: int) -> Table:
    """Without rules."""
    count = chance.randint(1, 6)
    keys = set(chance.sample(range(count), chance.choice([1, 1, 1, min(2, count)])))
    identity = chance.choice("ddffni")
    columns = []
    for index in range(count):
        type_oid = chance.choice((23, 20, 25, 25, 2950)) if index in keys else chance.choice(list(_VALUES))
        name = chance.choice(["c", "Ö c", 'tra"ce']) + str(index)
        columns.append(wire.Column(name, type_oid, identity == "f" or (index in keys and identity != "n")))
    return Table(oid, chance.choice(["orders", "o-1", "Tä.x"]) + str(oid), columns, identity, frozenset())


# ------------------------------------------------------------------------------------- the configuration


def make_events(chance: random.Random, tables: list[Table]) -> tuple[dict[str, str], list[Table]]:
    """The environment of a configuration, and the tables with what it hides of them."""
    made = [_entry(chance, table) for table in tables]
    entries = {f"public.{table.name.replace('.', '?')}": rules for rules, table in made}
    found: dict[str, Any] = {"PREFIX": "p", "TABLES": entries}
    is_grouped = chance.random() < 0.3
    if is_grouped:
        found["GROUP_BY"] = "transaction"
        found["GROUP_MAX_EVENTS"] = str(chance.choice([1, 2, 3, 500]))
        for rules in entries.values():
            for key in ("subject", "headers", "key", "format"):
                rules.pop(key, None)
    found["FORMAT"] = chance.choice(("ditto", "debezium", "msgpack", "wal-listener") if is_grouped else _FORMATS)
    formats = {found["FORMAT"], *(rules["format"] for rules in entries.values() if "format" in rules)}
    is_json = "msgpack" not in formats
    if is_grouped and is_json:
        found["GROUP_LAYOUT"] = chance.choice(["array", "lines"])
    if chance.random() < 0.3:
        found["SCHEMAS"] = "true"
    if not any(each.startswith("debezium") for each in formats):
        found |= _about_values(chance, is_json=is_json)
    if chance.random() < 0.4:
        subject = chance.choice(["{prefix}.{message.prefix}", "m.{message.prefix}"])
        found["MESSAGES"] = {"orders.*": {"subject": subject, "on_error": chance.choice(["stop", "drop"])}}
    environment = {
        f"DITTO_EVENTS_{key}": value if isinstance(value, str) else json.dumps(value) for key, value in found.items()
    }
    return {"DITTO_POSTGRES_DSN": "postgres://u@h/db", **environment}, [table for _, table in made]


def _about_values(chance: random.Random, *, is_json: bool) -> dict[str, Any]:
    """What Debezium's formats have no place for."""
    found: dict[str, Any] = {"OVERSIZE": chance.choice(["stop", "strip", "object_store"])}
    if chance.random() < 0.3:
        names = ["lsn", "xid", "ordinal", "primary_key", "origin", "schema_version"]
        found["METADATA"] = chance.sample(names, 3)
    if chance.random() < 0.3:
        found["TRANSACTIONS"] = "true"
    if chance.random() < 0.4:
        found["TYPES_INT8"] = chance.choice(["number", "string"])
        found["TYPES_BYTEA"] = chance.choice(["hex", "base64"])
        found["TYPES_TIMESTAMP"] = chance.choice(["plain", "utc"])
        found["TYPES_NUMERIC"] = chance.choice(["string", "number"] if is_json else ["string"])
        found["TYPES_JSON"] = chance.choice(["string", "embed"] if is_json else ["string"])
    return found


def _entry(chance: random.Random, table: Table) -> tuple[dict[str, Any], Table]:
    """The rules of a table, and the table with what they hide."""
    names = [column.name for column in table.columns]
    columns, hidden = _columns(chance, names)
    masked = set(columns.get("mask", ()))
    shown = [name for name in names if name not in hidden or name in masked]
    rules: dict[str, Any] = {"on_error": chance.choice(["stop", "keep", "keep", "drop", "drop"])}
    if columns:
        rules["columns"] = columns

    def value() -> str:
        name = chance.choice(shown).replace('"', '""')
        return f'{{data."{name}"}}'

    if chance.random() < 0.4:
        end = chance.choice(["", f".{value()}", f"-{value()}"])
        rules["subject"] = f"{{prefix}}.{{action}}.{{table}}.{value()}{end}"
    if chance.random() < 0.4:
        rules["headers"] = {"who": value(), "What": f"{{action}} of {{schema}}, {value()}/{value()}"}
    if chance.random() < 0.4 or hidden != masked:
        rules["key"] = chance.sample(shown, chance.randint(1, len(shown)))
    if chance.random() < 0.4:
        rules["when"] = _condition(chance, table)
    if {"subject", "headers", "key"} & rules.keys():
        rules["actions"] = ["insert", "update", *(["delete"] if table.identity == "f" else [])]
    elif chance.random() < 0.3:
        rules["actions"] = chance.sample(["insert", "update", "delete", "truncate"], chance.randint(1, 4))
    if chance.random() < 0.3:
        rules["skip_unchanged"] = True
    if chance.random() < 0.5:
        rules["format"] = chance.choice(_FORMATS)
    return rules, table._replace(hidden=frozenset(hidden))


def _columns(chance: random.Random, names: list[str]) -> tuple[dict[str, Any], set[str]]:
    """The rules, and the columns that they hide: one is shown at least, or masked."""
    found: dict[str, Any] = {}
    if chance.random() < 0.5:
        found["mask"] = {name: chance.choice(_MASKS) for name in chance.sample(names, chance.randint(1, len(names)))}
    hidden = set(found.get("mask", ()))
    free = [name for name in names if name not in hidden]
    if len(names) > 1 and free and chance.random() < 0.4:
        some = chance.sample(free, chance.randint(1, min(len(free), len(names) - 1)))
        if chance.random() < 0.5:
            found["exclude"] = some
            hidden |= set(some)
        else:
            found["include"] = [*some, *sorted(hidden)]
            hidden |= set(names) - set(some)
    return found, hidden


def _condition(chance: random.Random, table: Table) -> str:
    """One that fits the table."""
    columns = [TypedColumn(each.name, _type_name(each.type_oid), each.is_key) for each in table.columns]
    for _ in range(4):
        text = random_conditions.make_condition(chance, columns)
        try:
            compile_condition(text, columns, schema="public", table=table.name, identity=table.identity)
        except ConditionError:
            continue
        return text
    plain = [column for column in table.columns if column.name.isidentifier() and column.name.isascii()]
    if not plain:
        return "action != 'DELETE'"
    name, type_oid, is_key = chance.choice(plain)
    by_type = {
        16: f"row.{name} == true",
        20: f"data.{name} >= 0",
        23: f"row.{name} > 3",
        25: f"row.{name}.startsWith('a') || has(data.{name})",
        1700: f"row.{name} < 100",
    }
    usual = f"action != 'UPDATE' || changed('{name}')" if is_key else "action != 'DELETE'"
    text = by_type.get(type_oid, usual)
    return chance.choice([text, f"!({text})", f"{text} && action != 'TRUNCATE'"])


def _type_name(type_oid: int) -> str:
    return "public.mood" if type_oid == ENUM else KINDS.type_name(type_oid, "", "")


# ------------------------------------------------------------------------------------- what PostgreSQL sends


def frames(chance: random.Random, tables: list[Table]) -> Iterator[bytes]:
    """Some transactions, and between them changed tables, which are then in `tables`."""
    for table in tables:
        yield wire.type_(ENUM, "public", "mood")
        yield wire.relation(table.oid, table.name, table.columns, identity=table.identity)
    for number in range(chance.randint(1, 4)):
        if number and chance.random() < 0.4:
            at = chance.randrange(len(tables))
            tables[at] = table = _altered(chance, tables[at])
            yield wire.relation(table.oid, table.name, table.columns, identity=table.identity)
        lsn = LSN + number * 1000
        yield wire.begin(lsn, time_us=chance.choice([0, 817_000_000_000_000 + number]))
        for _ in range(chance.randint(0, 6)):
            if chance.random() < 0.15:
                yield wire.logical_message(chance.choice(_CONTENTS), prefix=chance.choice(_PREFIXES))
            else:
                yield _change(chance, chance.choice(tables))
        yield wire.commit(lsn)


def _altered(chance: random.Random, table: Table) -> Table:
    """After a DDL: a column is added, dropped, renamed or of another type; a column of the key stays."""
    columns = list(table.columns)
    free = [at for at, column in enumerate(columns) if not column.is_key or table.identity == "f"]
    what = chance.choice(["add", "drop", "rename", "retype"])
    if what == "add" or len(free) < 2:
        columns.append(
            wire.Column(f"added{chance.randrange(10**6)}", chance.choice(list(_VALUES)), table.identity == "f")
        )
    elif what == "drop":
        del columns[chance.choice(free[1:])]
    else:
        at = chance.choice(free[1:])
        changed = (
            {"name": f"renamed{chance.randrange(10**6)}"}
            if what == "rename"
            else {"type_oid": chance.choice(list(_VALUES))}
        )
        columns[at] = columns[at]._replace(**changed)
    return table._replace(columns=columns)


def row(chance: random.Random, table: Table, *, unsent: float = 0) -> wire.Row:
    """`unsent`: how often a value that did not change is not sent."""
    return [
        wire.UNCHANGED if chance.random() < unsent and not column.is_key else _cell(chance, table, column)
        for column in table.columns
    ]


def _cell(chance: random.Random, table: Table, column: wire.Column) -> str | None:
    if chance.random() < 0.15 and not column.is_key:
        return None
    if column.name in table.hidden and column.type_oid in {25, 1043}:
        return SECRET + chance.choice(_TEXTS)
    type_name = _type_name(column.type_oid)
    if type_name in random_conditions.TYPES and chance.random() < 0.7:
        return random_conditions.make_text(chance, type_name)
    return chance.choice(_VALUES[column.type_oid])


def _change(chance: random.Random, table: Table) -> bytes:
    is_whole = table.identity == "f"
    kind = chance.choices(("insert", "update", "delete", "truncate"), (4, 4, 3, 1))[0]
    if kind == "insert":
        return wire.insert(table.oid, row(chance, table))
    if kind == "truncate" or (kind == "delete" and table.identity == "n"):
        return wire.truncate(table.oid)
    old = row(chance, table) if is_whole else None
    key: wire.Row | None = (
        None if is_whole else [_cell(chance, table, each) if each.is_key else None for each in table.columns]
    )
    if kind == "delete":
        return wire.delete(table.oid, key=key, old=old)
    new = row(chance, table, unsent=0.3)
    if old is not None and chance.random() < 0.3:  # nothing changes
        new = [each if each is wire.UNCHANGED else before for each, before in zip(new, old, strict=True)]
    has_new_key = table.identity in "di" and chance.random() < 0.5
    return wire.update(table.oid, new, key=key if has_new_key else None, old=old)
