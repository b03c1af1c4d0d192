"""What `ditto preview` says of changes and rows, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ditto
from ditto.config import Action, Config, Events, Nats, Postgres, TableRules
from ditto.preview.run import Previewed, preview_rows
from ditto.sinks.choose import capabilities

if TYPE_CHECKING:
    from e2e.world import World

SECRET = "secret-value-5523"
RULES: dict[str, Any] = {
    "orders": {
        "actions": ["insert", "update", "delete"],
        "columns": {"exclude": ["note"], "mask": {"email": {"keep_last": 3}}},
        "skip_unchanged": True,
        "subject": "{prefix}.orders.{data.customer}",
        "headers": {"tenant": "{data.tenant}"},
        "key": ["customer"],
    },
    "fence": ["insert"],
}


async def preview(
    world: World, *arguments: str, tables: dict[str, Any] | None = None, **more: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG"))}
    settings = {**world.settings, "DITTO_EVENTS_TABLES": json.dumps(RULES if tables is None else tables), **more}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", "preview", *arguments),
        env={**inherited, "PYTHONPATH": str(Path(ditto.__file__).parent.parent), **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    text = out.decode() + err.decode()
    assert SECRET not in text
    assert "Traceback" not in text, text
    return process.returncode or 0, out.decode(), err.decode()


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def orders(world: World) -> World:
    world.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, customer int, tenant text, email text, note text)",
        "ALTER TABLE orders REPLICA IDENTITY FULL",
        "CREATE TABLE other (id int PRIMARY KEY, word text)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
    )
    return world


def make_slot(world: World) -> None:
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')")


def write(world: World) -> None:
    world.sql(
        f"INSERT INTO orders VALUES (1, 7, 'acme', '{SECRET}', '{SECRET}')",
        "UPDATE orders SET note = 'x'",
        "UPDATE orders SET customer = 8",
        f"INSERT INTO other VALUES (1, '{SECRET}')",
        "DELETE FROM orders",
        "TRUNCATE orders",
    )


async def test_changes_that_wait_in_the_slot(orders: World) -> None:
    make_slot(orders)
    write(orders)
    slots = "SELECT slot_name, confirmed_flush_lsn, restart_lsn FROM pg_replication_slots WHERE slot_name = '{}'"
    before = orders.sql(slots.format(orders.name))
    code, out, err = await preview(orders, "--json")
    assert code == 0, err
    found = lines(out)
    assert [(each["outcome"], each["table"], each["action"], each.get("rule")) for each in found] == [
        ("passed", "public.orders", "INSERT", None),
        ("dropped", "public.orders", "UPDATE", "events.tables.orders.skip_unchanged"),
        ("passed", "public.orders", "UPDATE", None),
        ("dropped", "public.other", "INSERT", "events.tables"),
        ("passed", "public.orders", "DELETE", None),
        ("dropped", "public.orders", "TRUNCATE", "events.tables.orders.actions"),
    ]
    first = found[0]
    assert first["subject"] == f"{orders.name}.orders.7"
    assert first["headers"]["tenant"] == "acme"
    assert first["key"] == "7"
    masked = "*" * (len(SECRET) - 3) + SECRET[-3:]
    assert first["payload"]["data"] == {"id": 1, "customer": 7, "tenant": "acme", "email": masked}
    assert found[1]["event"]["data"]["email"] == masked
    assert "event" not in found[3], "nobody has said what is to be masked there"
    assert "6 changes: 3 passed, 3 dropped" in err
    code, again, _ = await preview(orders, "--json")
    assert again == out, "they come again"
    assert orders.sql(slots.format(orders.name)) == before
    await orders.streaming(events_tables=RULES)
    stored = [each for each in await orders.events() if each.subject != orders.fence_subject]
    expected = [each["payload"] for each in found if each["outcome"] == "passed"]
    assert [each.event for each in stored] == expected, "ids and times, too"
    assert [str(each.position) for each in stored] == [
        each["position"] for each in found if each["outcome"] == "passed"
    ]


async def test_text(orders: World) -> None:
    make_slot(orders)
    write(orders)
    code, out, err = await preview(orders)
    assert code == 0, err
    assert "passed   INSERT public.orders  at " in out
    assert f"→ {orders.name}.orders.7" in out
    assert "    header tenant: acme" in out
    assert "    key: 7" in out
    assert "dropped  UPDATE public.orders" in out
    assert "events.tables.orders.skip_unchanged: no column of the event has changed" in out


async def test_rows_of_a_table_without_any_slot(orders: World) -> None:
    orders.sql(f"INSERT INTO orders SELECT i, i, 'acme', '{SECRET}', '{SECRET}' FROM generate_series(1, 50) AS i")
    code, out, err = await preview(orders, "--table", "orders", "--limit", "3", "--json")
    assert code == 0, err
    found = lines(out)
    assert [(each["outcome"], each["action"], each["subject"]) for each in found] == [
        ("passed", "READ", f"{orders.name}.orders.{number}") for number in (1, 2, 3)
    ]
    code, out, err = await preview(orders, "--table", "other", "--json")
    assert (code, out, "No change to show" in err) == (0, "", True)
    assert orders.sql("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []


async def test_a_running_ditto_is_not_disturbed(orders: World) -> None:
    process = await orders.streaming(events_tables=RULES)
    running = asyncio.ensure_future(preview(orders, "--json", "--limit", "2", "--wait", "30s"))
    slots = (
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'ditto_preview%' "
        "AND confirmed_flush_lsn IS NOT NULL AND database = current_database()"
    )
    async with asyncio.timeout(20):
        while not orders.value(slots):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    write(orders)
    code, out, err = await running
    assert code == 0, err
    assert [each["outcome"] for each in lines(out)] == ["passed", "dropped"]
    assert "Waiting for changes" in err
    assert orders.value(slots) == 0
    assert not process.logs("session.failed")
    code, out, err = await preview(orders, "--since", "1ms", "--json")
    assert (code, out, "No change to show" in err) == (0, "", True)
    assert await process.stop() == 0


async def test_since(orders: World) -> None:
    make_slot(orders)
    more_than_are_read = "generate_series(10, 21000)"
    orders.sql(f"INSERT INTO orders SELECT number, 1, 'a' FROM {more_than_are_read} AS number")
    await asyncio.sleep(4)
    orders.sql("INSERT INTO orders VALUES (2, 2, 'b')")
    code, out, err = await preview(orders, "--since", "3s", "--json")
    assert code == 0, err
    assert [each["payload"]["data"]["id"] for each in lines(out)] == [2]


async def test_as_many_as_asked_for_of_many_small_transactions(orders: World) -> None:
    make_slot(orders)
    orders.sql(*(f"INSERT INTO orders VALUES ({number}, 1, 'a')" for number in range(700)))
    code, out, err = await preview(orders, "--limit", "650", "--json")
    assert (code, len(lines(out))) == (0, 650), err
    code, out, err = await preview(orders, "--limit", "1000", "--since", "1h")
    assert (code, "700 changes: 700 passed" in err) == (0, True), err


async def test_where_ditto_would_stop(orders: World) -> None:
    make_slot(orders)
    orders.sql("INSERT INTO orders VALUES (1, 1, 'a')", "INSERT INTO orders VALUES (2, 2, 'b')")
    orders.sql("UPDATE orders SET tenant = repeat('x', 70000) WHERE id = 1")
    rules: dict[str, Any] = {"orders": {"subject": "{prefix}.x.{data.tenant}"}}
    code, out, err = await preview(orders, "--json", tables=rules)
    assert code == 2, "a TRUNCATE has no row: said as at a start"
    rules["orders"]["actions"] = ["insert", "update"]
    code, out, err = await preview(orders, "--json", tables=rules)
    assert code == 1, err
    found = lines(out)
    assert [each["outcome"] for each in found] == ["passed", "passed", "stops"]
    assert found[-1]["rule"] == "events.tables.orders.subject"
    assert "on_error: stop" in found[-1]["reason"]
    rules["orders"]["on_error"] = "drop"
    code, out, err = await preview(orders, "--json", tables=rules)
    assert code == 0, err
    found = lines(out)
    assert (found[-1]["outcome"], found[-1]["rule"]) == ("dropped", "events.tables.orders.subject")


@pytest.mark.parametrize(
    ("arguments", "tables", "code", "says"),
    [
        (("--table", "nowhere"), None, 2, "there is no table nowhere"),
        (("--table", "ordres"), None, 2, "is public.orders meant?"),
        (("--table", "dotted.name"), None, 2, "is public.dotted?name meant? A dot in the name of a table is written ?"),
        (("--table", "orders", "--since", "5m"), None, 2, "give one of them"),
        (("--table", "orders"), {"orders": {"columns": {"exclude": ["nope"]}}}, 2, "names the column nope"),
        (("--wait", "1s"), None, 0, "No change to show"),
    ],
)
async def test_what_is_wrong(
    orders: World, arguments: tuple[str, ...], tables: dict[str, Any] | None, code: int, says: str
) -> None:
    orders.sql("INSERT INTO orders VALUES (1, 1, 'a')", 'CREATE TABLE "dotted.name" (id int PRIMARY KEY)')
    found, _, err = await preview(orders, *arguments, tables=tables)
    assert (found, says in err) == (code, True), err


async def test_before_the_first_start(world: World) -> None:
    code, _, err = await preview(world, "--table", "fence")
    assert (code, "a preview creates nothing" in err, "CREATE PUBLICATION" in err) == (3, True, True)
    assert world.value("SELECT count(*) FROM pg_publication") == 0


async def test_conditions_and_other_formats(orders: World) -> None:
    make_slot(orders)
    orders.sql("INSERT INTO orders VALUES (1, 1, 'a')", "INSERT INTO orders VALUES (2, 2, 'b')")
    tables = {"orders": {"when": "row.customer == 2", "format": "debezium"}}
    code, out, err = await preview(orders, "--json", tables=tables)
    assert code == 0, err
    dropped, passed = lines(out)
    assert (dropped["outcome"], dropped["rule"]) == ("dropped", "events.tables.orders.when")
    assert dropped["event"]["after"]["id"] == 1
    assert (passed["outcome"], passed["payload"]["op"], passed["payload"]["after"]["id"]) == ("passed", "c", 2)
    code, out, err = await preview(orders, "--table", "orders", tables=tables)
    assert (code, "1 passed, 1 dropped" in err) == (0, True), err


async def test_messagepack_is_shown_as_an_event(orders: World) -> None:
    orders.sql("INSERT INTO orders VALUES (1, 1, 'north')")
    code, out, err = await preview(orders, "--table", "orders", tables={"orders": {"format": "msgpack"}})
    assert code == 0, err
    assert '+ tenant: "north"' in out


async def test_logical_messages_that_cannot_be_sent(orders: World) -> None:
    make_slot(orders)
    orders.sql(
        "SELECT pg_logical_emit_message(true, 'in.a', '{}')",
        f'SELECT pg_logical_emit_message(false, \'in.b\', \'{{"ditto": {{"headers": 5}}, "payload": "{SECRET}"}}\')',
        "SELECT pg_logical_emit_message(true, 'other', '{}')",
        'SELECT pg_logical_emit_message(true, \'in.c\', \'{"ditto": {"headers": 5}, "payload": 1}\')',
    )
    for entry, outcome, code in (("drop", "dropped", 0), ("stop", "stops", 1)):
        orders.settings["DITTO_EVENTS_MESSAGES"] = json.dumps({"in.*": {"subject": "box", "on_error": entry}})
        found, out, err = await preview(orders, "--json")
        assert found == code, err
        seen = lines(out)
        shown = [(each["table"], each["outcome"]) for each in seen]
        wanted = [("in.a", "passed"), ("in.b", outcome), ("other", "dropped"), ("in.c", outcome)]
        assert shown == wanted
        assert (seen[2]["rule"], seen[2]["reason"]) == ("events.messages", "no key selects the prefix")
        assert seen[1]["rule"] == "events.messages.in.*"
        assert seen[1]["reason"] == f"the headers are not a JSON object; on_error: {entry}"
    del orders.settings["DITTO_EVENTS_MESSAGES"]
    found, out, err = await preview(orders, "--json")
    assert [(each["table"], each["rule"]) for each in lines(out)] == [
        (prefix, "events.messages") for prefix in ("in.a", "in.b", "other", "in.c")
    ]
    assert SECRET not in out


async def test_a_message_that_cannot_be_sent_is_not_the_last_event_of_its_transaction(orders: World) -> None:
    make_slot(orders)
    orders.transaction(
        "INSERT INTO other VALUES (1, 'a'), (2, 'b')",
        """SELECT pg_logical_emit_message(true, 'in.a', '{"ditto": {"headers": 5}, "payload": 1}')""",
    )
    orders.settings["DITTO_EVENTS_MESSAGES"] = json.dumps({"in.*": {"subject": "box", "on_error": "drop"}})
    orders.settings["DITTO_EVENTS_TRANSACTIONS"] = "true"
    code, out, err = await preview(orders, "--json", tables={"other": ["insert"]})
    assert code == 0, err
    first, last, message = lines(out)
    assert ("meta" in first["payload"], last["payload"]["meta"], message["outcome"]) == (
        False,
        {"last": True},
        "dropped",
    )


async def test_where_the_sink_has_keys_the_primary_key_is_shown(orders: World, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.sql(f"INSERT INTO orders VALUES (5, 7, 'acme', '{SECRET}', '{SECRET}')")
    config = Config(
        postgres=Postgres(dsn=orders.dsn, publication=orders.name, slot=orders.name),
        nats=Nats(stream=orders.name),
        events=Events(tables={"orders": TableRules(key=["tenant", "id"]), "other": [Action.INSERT]}),
    )
    orders.sql("INSERT INTO other VALUES (3, 'a')")
    keys: dict[str, list[str | None]] = {}
    for has_keys in (False, True):
        given = capabilities(config)._replace(has_keys=has_keys)
        monkeypatch.setattr("ditto.preview.run.capabilities", lambda _config, given=given: given)
        for table in ("orders", "other"):
            (verdict,) = await preview_rows(config, Previewed(), table=table, count=1)
            keys.setdefault(table, []).append(verdict.key)
    assert keys["other"] == [None, "3"]
    assert keys["orders"][0] == keys["orders"][1] is not None, "the rules name one"


WIDE = {"wide": ["insert"]}


@pytest.mark.parametrize(
    ("oversize", "outcome", "reason"),
    [
        ("stop", "stops", "and 4,096 are taken (--max-message)"),
        ("strip", "passed", "the event is larger than 4,096 bytes: these columns are left out: doc"),
        ("object_store", "passed", "the event is larger than 4,096 bytes: it goes into the object store"),
    ],
)
async def test_what_becomes_of_events_that_are_too_large(
    orders: World, oversize: str, outcome: str, reason: str
) -> None:
    orders.sql("CREATE TABLE wide (id int PRIMARY KEY, doc text, note text)")
    make_slot(orders)
    orders.sql("INSERT INTO wide VALUES (1, repeat('x', 5000), 'n'), (2, 'short', 'n')")
    before = await streams(orders)
    given = ("--max-message", "4kB", "--json")
    code, out, err = await preview(orders, *given, tables=WIDE, DITTO_EVENTS_OVERSIZE=oversize)
    large, small = lines(out)
    assert (large["outcome"], large["rule"]) == (outcome, "events.oversize")
    assert reason in large["reason"]
    assert code == (1 if outcome == "stops" else 0), err
    assert small["outcome"] == "passed"
    assert "rule" not in small
    assert small["size"] < 4096
    if outcome == "passed":
        assert "doc" not in large["payload"]["data"]
        assert large["size"] < 4096
    code, out, _ = await preview(orders, "--table", "wide", *given, tables=WIDE, DITTO_EVENTS_OVERSIZE=oversize)
    assert [each["outcome"] for each in lines(out)] == [outcome, "passed"]
    assert await streams(orders) == before, "nothing is stored, and no bucket is created"


async def streams(world: World) -> list[tuple[str, int]]:
    """Names and last sequences, of all that the server has."""
    async with world.jetstream() as jetstream:
        return [(each.config.name or "", each.state.last_seq) for each in await jetstream.streams_info()]


async def test_groups_are_shown_with_their_numbers(orders: World) -> None:
    make_slot(orders)
    orders.sql("INSERT INTO other SELECT i, 'w' FROM generate_series(1, 5) AS i", "INSERT INTO other VALUES (6, 'w')")
    group = json.dumps(2)
    code, out, err = await preview(orders, "--json", tables={"other": ["insert"]}, DITTO_EVENTS_GROUP_MAX_EVENTS=group)
    assert code == 0, err
    found = lines(out)
    assert {each["subject"] for each in found} == {f"{orders.name}.transactions"}
    assert [(each["group"]["number"], each["group"]["events"], each["group"]["isLast"]) for each in found] == [
        (1, 2, False),
        (1, 2, False),
        (2, 2, False),
        (2, 2, False),
        (3, 1, True),
        (1, 1, True),
    ]
    assert all(each["group"]["bytes"] > each["group"]["events"] * 100 for each in found)
    _, out, _ = await preview(orders, tables={"other": ["insert"]}, DITTO_EVENTS_GROUP_MAX_EVENTS=group)
    assert "group 3: 1 event in " in out
    assert "the last of its transaction" in out
