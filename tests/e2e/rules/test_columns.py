"""Which columns events have, and what stands in place of masked ones."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.rules.commands import ditto

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World

FENCE = {"fence": ["insert"]}
TABLE = """CREATE TABLE people (id int PRIMARY KEY, name text, email text, iban text, born date, note text,
    tags text[], tenant text NOT NULL DEFAULT 'acme')"""
MASK = {
    "name": {"constant": "***"},
    "email": {"hash": "hmac-sha256", "key": "sesame-key"},
    "iban": {"keep_last": 4},
    "born": {"null": True},
    "tags": {"hash": "sha256"},
}
RULES: dict[str, Any] = {"columns": {"exclude": ["note"], "mask": MASK}}
ROW = "(1, 'Anna', 'anna@example.com', 'DE02120300000000202051', '1990-01-02', 'internal', '{a,b}')"


def digest(text: str) -> str:
    return hmac.new(b"sesame-key", text.encode(), "sha256").hexdigest()


async def data(world: World) -> list[tuple[str, Any, Any]]:
    return [(event.event["action"], event.event["data"], event.event["dataOld"]) for event in await world.events()]


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_columns_are_left_out_and_masked_in_new_and_old_rows(world: World, impl: str) -> None:
    world.sql(TABLE, "ALTER TABLE people REPLICA IDENTITY FULL")
    await world.streaming(impl=impl, events_tables={"people": RULES} | FENCE)
    world.sql(
        f"INSERT INTO people VALUES {ROW}",
        "UPDATE people SET email = NULL, iban = '123', name = NULL, note = 'other'",
        "DELETE FROM people",
    )
    first = {
        "id": 1,
        "name": "***",
        "email": digest("anna@example.com"),
        "iban": "*" * 18 + "2051",
        "born": None,
        "tags": hashlib.sha256(b"{a,b}").hexdigest(),
        "tenant": "acme",
    }
    second = {**first, "email": None, "iban": "***"}
    assert await data(world) == [("INSERT", first, {}), ("UPDATE", second, first), ("DELETE", {}, second)]


async def test_included_columns_alone_are_there(world: World) -> None:
    world.sql(TABLE)
    await world.streaming(events_tables={"public.people": {"columns": {"include": ["id", "tenant"]}}} | FENCE)
    world.sql(f"INSERT INTO people VALUES {ROW}", "ALTER TABLE people ADD COLUMN more int DEFAULT 5")
    world.sql("UPDATE people SET note = 'x'")
    row = {"id": 1, "tenant": "acme"}
    assert await data(world) == [("INSERT", row, {}), ("UPDATE", row, {})]


async def test_a_masked_key_is_masked_in_the_old_key(world: World) -> None:
    world.sql("CREATE TABLE t (email text PRIMARY KEY, n int)")
    mask = {"email": {"hash": "hmac-sha256", "key": "sesame-key"}}
    await world.streaming(events_tables={"t": {"columns": {"mask": mask}}} | FENCE)
    world.sql("INSERT INTO t VALUES ('a', 1)", "UPDATE t SET email = 'b'", "DELETE FROM t")
    assert await data(world) == [
        ("INSERT", {"email": digest("a"), "n": 1}, {}),
        ("UPDATE", {"email": digest("b"), "n": 1}, {"email": digest("a")}),
        ("DELETE", {}, {"email": digest("b")}),
    ]


async def test_an_unchanged_large_value_is_named_but_not_one_that_is_left_out(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text STORAGE EXTERNAL, b text STORAGE EXTERNAL, n int)")
    columns = {"exclude": ["a"], "mask": {"b": {"keep_last": 1}}}
    await world.streaming(events_tables={"t": {"columns": columns}} | FENCE)
    world.sql("INSERT INTO t VALUES (1, repeat('a', 10000), repeat('b', 10000), 1)", "UPDATE t SET n = 2")
    insert, update = [event.event for event in await world.events()]
    assert insert["data"] == {"id": 1, "b": "*" * 9999 + "b", "n": 1}
    assert (update["data"], update["unchanged"]) == ({"id": 1, "n": 2}, ["b"])


async def test_skip_unchanged_drops_updates_that_change_nothing_of_the_event(world: World) -> None:
    world.sql(TABLE, "ALTER TABLE people REPLICA IDENTITY FULL")
    process = await world.streaming(events_tables={"people": {**RULES, "skip_unchanged": True}} | FENCE)
    world.sql(
        f"INSERT INTO people VALUES {ROW}",
        "UPDATE people SET note = 'other'",
        "UPDATE people SET id = id",
        "UPDATE people SET tenant = 'b'",
    )
    assert [action for action, *_ in await data(world)] == ["INSERT", "UPDATE"]
    assert process.is_running


async def test_descriptions_of_tables_leave_out_what_events_leave_out(world: World) -> None:
    world.sql(TABLE)
    await world.streaming(events_tables={"people": RULES} | FENCE, events_schemas=True)
    world.sql(f"INSERT INTO people VALUES {ROW}")
    await world.fence()
    subject = f"{world.name}._schema.public.people"
    description = next(json.loads(each.payload) for each in await world.messages() if each.subject == subject)
    columns = {column["name"]: column.get("masked", False) for column in description["columns"]}
    assert columns == {
        "id": False,
        "name": True,
        "email": True,
        "iban": True,
        "born": True,
        "tags": True,
        "tenant": False,
    }


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            {"columns": {"exclude": ["nots"]}},
            "events.tables.people.columns.exclude names the column nots, which table public.people does not have: did "
            "you mean note?",
        ),
        (
            {"columns": {"exclude": ["id"]}},
            "events.tables.people.columns leaves out id, a column of the key of table public.people: nobody could tell "
            "its rows apart",
        ),
        (
            {"subject": "{prefix}.{table}.{data.tenant}", "actions": ["insert", "delete"]},
            "events.tables.people.subject has the column tenant, which PostgreSQL does not send for a DELETE in table "
            "public.people: it is no column of the replica identity",
        ),
        (
            {"subject": "{prefix}.{table}.{data.id}"},
            "events.tables.people.subject has the value of a column, and a TRUNCATE has no row",
        ),
        (
            {"subject": "{prefix}.{data.id}", "actions": ["insert"]},
            "table public.people would share the subject {prefix}.{data.id} with Ditto's checkpoints",
        ),
    ],
)
async def test_a_rule_that_does_not_fit_is_said_at_start_and_by_check(world: World, rules: Any, said: str) -> None:
    world.sql(TABLE)
    tables = {"people": rules} | FENCE
    process = world.ditto(events_tables=tables)
    assert await process.ended() in {2, 4}
    assert said in process.output
    assert not world.sql("SELECT FROM pg_replication_slots WHERE slot_name = current_database()")
    result = await ditto(world, "check", "--json", DITTO_EVENTS_TABLES=json.dumps(tables))
    found = {each["what"] for each in json.loads(result.stdout) if each["check"] == "rules.tables"}
    assert found == {said}


async def test_an_excluded_key_needs_a_key(world: World) -> None:
    world.sql(TABLE)
    await world.streaming(
        events_tables={"people": {"columns": {"exclude": ["id"]}, "key": ["email"], "actions": ["insert"]}} | FENCE
    )
    world.sql(f"INSERT INTO people VALUES {ROW}")
    (event,) = await world.events()
    assert "id" not in event.event["data"]


async def test_a_column_that_goes_away_stops_at_its_relation(world: World) -> None:
    world.sql(TABLE)
    process = await world.streaming(events_tables={"people": RULES} | FENCE)
    world.sql(f"INSERT INTO people VALUES {ROW}", "ALTER TABLE people RENAME COLUMN note TO notes")
    world.sql("UPDATE people SET iban = '1'")
    assert await process.ended() == 2
    said = "events.tables.people.columns.exclude names the column note, which table public.people does not have: did "
    assert f"{said}you mean notes?" in process.output
    assert "internal" not in process.output


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_rules_with_the_new_name_of_a_column_need_not_fit_what_is_stored(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    process = await world.streaming(impl=impl, events_tables={"t": {"columns": {"exclude": ["note"]}}} | FENCE)
    world.sql("INSERT INTO t VALUES (1, 'internal')", "ALTER TABLE t RENAME COLUMN note TO notes")
    world.sql("INSERT INTO t VALUES (2, 'internal')")
    assert await process.ended() == 2
    assert "names the column note, which table public.t does not have" in process.output
    # PostgreSQL sends the first row again, whose relation does not have the new name.
    await world.streaming(impl=impl, events_tables={"t": {"columns": {"exclude": ["notes"]}}} | FENCE)
    world.sql("INSERT INTO t VALUES (3, 'internal')")
    assert await data(world) == [("INSERT", {"id": number}, {}) for number in (1, 2, 3)]


async def test_a_mask_takes_its_key_from_the_environment_and_nothing_shows_it(world: World, tmp_path: Path) -> None:
    file = tmp_path / "ditto.yaml"
    file.write_text(
        'events: {tables: {t: {columns: {mask: {a: {hash: hmac-sha256, key: "${MASK_KEY}"}, b: {null: true}}}}}}',
        encoding="utf-8",
    )
    result = await ditto(world, "config", "show", "--config", str(file), MASK_KEY="sesame-key\n")
    assert result.exit_code == 0, result.output
    assert "sesame-key" not in result.output
    assert "key: '***'" in result.stdout
