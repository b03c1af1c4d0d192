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
