"""Which columns events have, and what stands in place of masked ones."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest

from ditto.formats.stored_events import read_event
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
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int)",
        "ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL",
    )
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


async def test_a_hidden_column_is_dropped_while_ditto_is_down(world: World) -> None:
    world.sql("CREATE TABLE people (id int PRIMARY KEY, name text, note text)")
    hidden = {"columns": {"exclude": ["note"], "mask": {"name": {"null": True}}}}
    process = await world.streaming(events_tables={"people": hidden} | FENCE)
    assert await process.stop() == 0
    world.sql("INSERT INTO people VALUES (1, 'sesame', 'sesame')", "ALTER TABLE people DROP note, DROP name")
    process = world.ditto(events_tables={"people": hidden} | FENCE)
    assert await process.ended() == 2
    assert "events.tables.people.columns.include with the columns that stay" in process.output
    await world.streaming(events_tables={"people": {"columns": {"include": ["id"]}}} | FENCE)
    assert await data(world) == [("INSERT", {"id": 1}, {})]


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


RENAMED = {"columns": {"exclude": ["notes"], "former": {"notes": ["note"]}}}


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_a_column_is_renamed_while_ditto_is_down(world: World, impl: str) -> None:
    """PostgreSQL still sends a change with the former name, and the catalogue has the new one."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    process = await world.streaming(impl=impl, events_tables={"t": {"columns": {"exclude": ["note"]}}} | FENCE)
    world.sql("INSERT INTO t VALUES (1, 'internal')")
    await world.fence()
    assert await process.stop() == 0
    world.sql("INSERT INTO t VALUES (2, 'internal')", "ALTER TABLE t RENAME COLUMN note TO notes")
    world.sql("INSERT INTO t VALUES (3, 'internal')")
    # With the new name alone, and with the former one alone, nothing gets out.
    for name in ("note", "notes"):
        refused = world.ditto(impl=impl, events_tables={"t": {"columns": {"exclude": [name]}}} | FENCE)
        assert await refused.ended() == 2
        assert "events.tables.t.columns.former" in refused.output
    process = await world.streaming(impl=impl, events_tables={"t": RENAMED} | FENCE)
    world.sql("INSERT INTO t VALUES (4, 'internal')")
    assert await data(world) == [("INSERT", {"id": number}, {}) for number in (1, 2, 3, 4)]
    assert await process.stop() == 0
    await world.streaming(impl=impl, events_tables={"t": {"columns": {"exclude": ["notes"]}}} | FENCE)


OTHERS = ("cloudevents", "cloudevents-binary", "debezium", "debezium-schema", "msgpack", "wal-listener")


@pytest.mark.parametrize("event_format", ["ditto", *(pytest.param(each, marks=pytest.mark.long) for each in OTHERS)])
async def test_a_column_that_every_rule_names_is_renamed_while_ditto_runs(world: World, event_format: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text, secret text)", "ALTER TABLE t REPLICA IDENTITY FULL")
    rules = {
        "actions": ["insert", "update", "delete"],
        "columns": {
            "mask": {"hidden": {"constant": "***"}},
            "former": {"notes": ["memo", "note"], "hidden": ["secret"]},
        },
        "when": "row.notes != 'no'",
        "subject": "{prefix}.t.{data.notes}.{data.hidden}",
        "headers": {"notes": "{data.notes}", "hidden": "{data.hidden}"},
        "key": ["notes", "hidden"],
        "format": event_format,
    }
    process = await world.streaming(events_tables={"t": rules} | FENCE)
    world.sql("INSERT INTO t VALUES (1, 'a', 'internal'), (2, 'no', 'internal')")
    world.sql("ALTER TABLE t RENAME COLUMN note TO notes", "ALTER TABLE t RENAME COLUMN secret TO hidden")
    world.sql("INSERT INTO t VALUES (3, 'a', 'internal'), (4, 'no', 'internal')")
    await world.fence()
    found = [each for each in await world.messages() if each.subject == f"{world.name}.t.a.%2A%2A%2A"]
    assert [json.loads(bytes(read_event(each.payload, each.headers.get).data)) for each in found] == [
        {"id": 1, "note": "a", "secret": "***"},
        {"id": 3, "notes": "a", "hidden": "***"},
    ]
    for each in found:
        assert (each.headers["notes"], each.headers["hidden"]) == ("a", "***")
        assert json.loads(each.headers["Ditto-Key"]) == {"notes": "a", "hidden": "***"}
    assert process.is_running
    assert not any(b"internal" in each.payload for each in await world.messages())


async def test_a_column_that_takes_the_name_of_a_hidden_one_hides_nothing_less(world: World) -> None:
    """Before the renaming another column has the new name: both are hidden."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text, notes text)")
    await world.streaming(events_tables={"t": RENAMED} | FENCE)
    world.sql("INSERT INTO t VALUES (1, 'internal', 'other')")
    world.sql("ALTER TABLE t DROP COLUMN notes", "ALTER TABLE t RENAME COLUMN note TO notes")
    world.sql("INSERT INTO t VALUES (2, 'internal')")
    assert await data(world) == [("INSERT", {"id": number}, {}) for number in (1, 2)]


async def test_check_says_every_mistake_of_every_table(world: World) -> None:
    world.sql(TABLE, "CREATE TABLE t (id int PRIMARY KEY, note text)")
    tables = {
        "people": {
            "columns": {"exclude": ["nots", "tgs"], "mask": {"emial": {"null": True}}},
            "subject": "{prefix}.{table}.{data.tennant}",
            "headers": {"a": "{data.tenant}"},
            "key": ["idd"],
            "when": "data.nme == 'a'",
        },
        "t": {"columns": {"include": ["id", "x"]}, "when": "data.y == 1"},
    } | FENCE
    result = await ditto(world, "check", "--json", DITTO_EVENTS_TABLES=json.dumps(tables))
    found = [each for each in json.loads(result.stdout) if each["check"] == "rules.tables"]
    said = [each["what"] for each in found]
    wanted = [
        "events.tables.people.columns.exclude names the column nots",
        "events.tables.people.columns.exclude names the column tgs",
        "events.tables.people.columns.mask names the column emial",
        "events.tables.people.subject names the column tennant",
        "events.tables.people.subject has the value of a column, and a TRUNCATE",
        "events.tables.people.headers.a has the column tenant, which PostgreSQL does not send for a DELETE",
        "events.tables.people.headers.a has the value of a column, and a TRUNCATE",
        "events.tables.people.key names the column idd",
        "events.tables.people.when does not fit",
        "events.tables.t.columns.include names the column x",
        "events.tables.t.when does not fit",
    ]
    assert len(said) == len(wanted), said
    for beginning, sentence in zip(wanted, said, strict=True):
        assert sentence.startswith(beginning)
    (statement,) = [each for each in found if each.get("fix")]
    assert (statement["fix"], statement["fix_in"]) == ('ALTER TABLE "public"."people" REPLICA IDENTITY FULL;', "psql")


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


@pytest.mark.parametrize("is_via_root", [False, True])
async def test_changes_that_were_written_under_another_name(world: World, is_via_root: bool) -> None:
    """The publication as it was when a change was written says whether it has the name of the partition."""
    names = ["people", "people_1"] if is_via_root else ["people_1", "people"]
    option = "publish_via_partition_root"
    world.sql(
        "CREATE TABLE people (id int PRIMARY KEY, email text) PARTITION BY RANGE (id)",
        "CREATE TABLE people_1 PARTITION OF people FOR VALUES FROM (1) TO (100)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES WITH ({option} = {is_via_root})",
    )
    run = await world.streaming(events_tables={"*": ["insert"]})
    await world.fence()
    await run.stop()
    world.sql("INSERT INTO people VALUES (1, 'anna@example.com')")
    world.sql(f"ALTER PUBLICATION {world.name} SET ({option} = {not is_via_root})")
    rules: dict[str, Any] = {"columns": {"mask": {"email": {"constant": "***"}}}}

    refused = world.ditto(events_tables={"*": ["insert"], names[1]: rules})
    assert await refused.ended() == 2
    assert f"events.tables.{names[1]} chooses the columns of public.{names[1]}" in refused.sentence()
    assert f"give public.{names[0]} an entry with the same columns" in refused.sentence()
    assert "anna" not in refused.output

    await world.streaming(events_tables={"*": ["insert"], names[1]: rules, f"public.{names[0]}": rules})
    assert await data(world) == [("INSERT", {"id": 1, "email": "***"}, {})]
