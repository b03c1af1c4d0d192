"""`ditto verify` with rules: what events leave out is not compared, what they mask is masked, and nothing is blamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from e2e.rules.commands import ditto

if TYPE_CHECKING:
    from e2e.world import World

ROWS = ["insert", "update", "delete"]
KEY = {"hash": "hmac-sha256", "key": "sesame-key"}
TABLE = """CREATE TABLE {name} (email text PRIMARY KEY, note text, big text, n int,
    born timestamptz, tags text[], doc jsonb, took interval, raw bytea, flag bool)"""
MASKS: dict[str, Any] = {
    "email": KEY,
    "big": {"keep_last": 3},
    "born": KEY,
    "tags": {"hash": "sha256"},
    "doc": KEY,
    "took": KEY,
    "raw": {"keep_first": 3},
    "flag": {"constant": "-"},
}


def row(email: str, n: int) -> str:
    return (
        f"('{email}', 'note', repeat('{email}', 2000), {n}, now(), '{{a,\"b c\"}}', '{{\"a\": null}}', "
        "'1 day 2 hours', '\\xdeadbeef', NULL)"
    )


async def verify(world: World, tables: Any, *options: str, **variables: str) -> dict[str, Any]:
    result = await ditto(world, "verify", "--json", *options, DITTO_EVENTS_TABLES=json.dumps(tables), **variables)
    report: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (1 if report["differences"] else 0), result.output
    return report


async def test_what_is_left_of_tables_is_compared(world: World) -> None:
    names = ("plain", "whole", "constant", "lost")
    world.sql(*(TABLE.format(name=name) for name in names))
    world.sql(*(f"ALTER TABLE {name} ALTER big SET STORAGE EXTERNAL" for name in names))
    world.sql(*(f"ALTER TABLE {name} REPLICA IDENTITY FULL" for name in ("whole", "constant")))
    columns = {"exclude": ["note"], "mask": MASKS}
    constant = {"exclude": ["note"], "mask": {**MASKS, "email": {"constant": "***"}}}
    tables: dict[str, Any] = {
        "fence": ["insert", "update", "delete", "truncate"],
        "plain": {"columns": columns},
        "whole": {"columns": columns, "skip_unchanged": True},
        "constant": {"columns": constant},
        "lost": {"columns": constant},
    }
    world.sql(*(f"INSERT INTO {name} VALUES {row('a', 1)}" for name in names))
    process = await world.streaming(events_tables=tables, snapshot_mode="initial", events_types_interval="iso8601")
    await process.logged("snapshot.finished")
    for name in names:
        world.sql(
            f"INSERT INTO {name} VALUES {row('b', 2)}, {row('c', 3)}, {row('d', 3)}",
            f"UPDATE {name} SET n = 4, flag = true WHERE email = 'b'",
            f"UPDATE {name} SET email = 'e' WHERE email = 'c'",
            f"UPDATE {name} SET note = 'other'",
            f"DELETE FROM {name} WHERE email = 'd'",
        )
    variables = {"DITTO_EVENTS_TYPES_INTERVAL": "iso8601"}
    report = await verify(world, tables, **variables)
    reason = "its key is left out or masked, and its old rows do not come whole: its rows cannot be told apart"
    assert report["differences"] == []
    assert report["unjudged"] == [{"table": "public.lost", "reason": reason, "is_obstacle": False}]
    assert report["tables"] == 4
    # What no event tells of is found, and shown without a value.
    assert await process.stop() == 0
    for name in ("plain", "whole", "constant"):
        world.sql(f"UPDATE {name} SET born = 'epoch' WHERE email = 'b'")
    report = await verify(world, tables, "--timeout", "100ms", **variables)
    kinds = {(each["table"], each["kind"]) for each in report["differences"]}
    assert kinds >= {("public.plain", "different values"), ("public.whole", "different values")}
    assert {table for table, _ in kinds} == {"public.plain", "public.whole", "public.constant"}
    text = json.dumps(report)
    assert "1970" not in text
    assert "= (b)" not in text


PARTLY = (
    "its condition (when) decides which of its changes are events: only rows that fulfil it are compared, and whether "
    "others should be in the stream cannot be told"
)
WHOLE = "its condition (when) decides which of its changes are events: the others cannot be told from lost ones"


async def test_of_a_table_with_a_condition_the_rows_that_fulfil_it_are_compared(world: World) -> None:
    columns = "id int PRIMARY KEY, state text, n int, big text STORAGE EXTERNAL"
    tables: dict[str, Any] = {
        "fence": ["insert", "update", "delete", "truncate"],
        "row": {"when": "row.state != 'draft'", "columns": {"exclude": ["state"]}},
        "whole": {"when": "row.state != 'draft'"},
        "keyless": {"when": "row.state != 'draft'"},
        "acts": {
            "when": "action in ['DELETE', 'TRUNCATE'] || (action != 'READ' || data.n > 0) && data.state != 'draft'"
        },
        "turned": {"when": "action != 'UPDATE' || changed('state')"},
        "dropped": {"when": "row.state != 'draft'", "on_error": "drop"},
        "still": {"when": "row.state != 'draft'", "skip_unchanged": True},
    }
    judged = ("row", "whole", "keyless", "acts")
    for name in tables:
        if name != "fence":
            world.sql(f"CREATE TABLE {name} ({columns})", f"ALTER TABLE {name} REPLICA IDENTITY FULL")
    world.sql("ALTER TABLE keyless DROP CONSTRAINT keyless_pkey", "ALTER TABLE acts REPLICA IDENTITY DEFAULT")
    world.sql(*(f"INSERT INTO {name} VALUES (0, 'paid', 1, '')" for name in judged))
    process = await world.streaming(events_tables=tables, snapshot_mode="initial")
    await process.logged("snapshot.finished")
    for name in (*judged, "turned", "dropped", "still"):
        world.sql(
            f"INSERT INTO {name} SELECT i, CASE i % 2 WHEN 1 THEN 'paid' ELSE 'draft' END, i, repeat(i::text, 3000) "
            "FROM generate_series(1, 12) AS i",
            f"UPDATE {name} SET state = 'draft' WHERE id IN (1, 3)",
            f"UPDATE {name} SET n = 33, big = repeat('other', 900) WHERE id = 3",
            f"UPDATE {name} SET state = 'paid' WHERE id IN (2, 3, 4)",
            f"UPDATE {name} SET state = 'draft' WHERE id = 5",
            f"DELETE FROM {name} WHERE id = 5",
            f"INSERT INTO {name} VALUES (5, 'paid', 55, 'again')",
            f"UPDATE {name} SET id = 104, n = 5 WHERE id = 4",
            f"DELETE FROM {name} WHERE id IN (7, 8)",
        )
    report = await verify(world, tables)
    assert report["differences"] == []
    reasons = {each["table"]: each["reason"] for each in report["unjudged"]}
    assert reasons == {
        **{f"public.{name}": PARTLY for name in judged},
        **{f"public.{name}": WHOLE for name in ("turned", "dropped", "still")},
    }
    paid = world.value("SELECT count(*) FROM whole WHERE state <> 'draft'")
    assert report["tables"] == 1 + len(judged)
    assert report["rows"] == len(judged) * int(str(paid))
    # What no event tells of is found where the row fulfils the condition, and nowhere else.
    assert await process.stop() == 0
    for name in judged:
        world.sql(
            f"UPDATE {name} SET n = 99 WHERE id = 9",
            f"INSERT INTO {name} VALUES (50, 'paid', 1, ''), (51, 'draft', 1, '')",
            f"UPDATE {name} SET n = 99 WHERE id = 10",
            f"DELETE FROM {name} WHERE id = 11",
        )
    report = await verify(world, tables, "--timeout", "100ms")
    found = sorted((each["table"], each["kind"], each["where"]) for each in report["differences"])
    keyed = [("different values", "(id) = (9)"), ("missing row", "(id) = (50)")]
    assert [each for each in found if each[0] != "public.keyless"] == [
        (f"public.{name}", *each) for name in sorted(judged) if name != "keyless" for each in keyed
    ]
    assert [each[1] for each in found if each[0] == "public.keyless"] == ["missing row", "missing row"]


async def test_without_truncates_only_rows_that_may_be_gone_are_left_out(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    tables = {"fence": ["insert"], "t": {"actions": ROWS, "subject": "{prefix}.t.{data.id}"}}
    await world.streaming(events_tables=tables)
    world.sql("INSERT INTO t VALUES (1, 1)", "UPDATE t SET n = 2")
    report = await verify(world, tables)
    assert (report["differences"], report["tables"]) == ([], 1)
    assert [each["table"] for each in report["unjudged"]] == ["public.fence"]
    world.sql("TRUNCATE t", "INSERT INTO t VALUES (2, 1)")
    report = await verify(world, tables)
    assert report["differences"] == []
    reasons = {each["table"]: each["reason"] for each in report["unjudged"]}
    assert reasons["public.t"] == "its TRUNCATEs are filtered out, and there may have been one"


async def test_changes_that_rules_may_drop_are_not_judged(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    rules = {"actions": ROWS, "subject": "{prefix}.t.{data.id}", "on_error": "drop"}
    tables = {"fence": ["insert"], "t": rules}
    await world.streaming(events_tables=tables)
    world.sql("INSERT INTO t VALUES (1, 'a')")
    report = await verify(world, tables)
    assert {each["table"]: each["reason"] for each in report["unjudged"]}["public.t"] == (
        "on_error: drop may have dropped changes of it"
    )


async def test_a_rule_that_does_not_fit_is_said(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    await world.streaming()
    world.sql("INSERT INTO t VALUES (1, 'a')")
    tables = json.dumps({"t": {"columns": {"exclude": ["nam"]}}})
    result = await ditto(world, "verify", DITTO_EVENTS_TABLES=tables)
    assert result.exit_code == 2
    assert "names the column nam" in result.stderr
