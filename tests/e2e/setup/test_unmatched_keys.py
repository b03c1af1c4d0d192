"""What the configuration names and the database does not have, and tables that a publication would break."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e.world import World

FENCE = {"fence": ["insert"]}


async def test_keys_that_no_table_matches_are_named_once_at_start(world: World) -> None:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    tables = {"tradse": ["insert"], "trades": ["insert"], "re:audit[.].*": ["insert"], "*_log": ["insert"]}
    ditto = await world.streaming(events_tables=tables | FENCE, events_topics={"tardes": "t"})
    warning = await ditto.logged("tables.unmatched")
    assert warning["level"] == "warning"
    assert warning["keys"] == [
        "events.tables.tradse",
        "events.tables.re:audit[.].*",
        "events.tables.*_log",
        "events.topics.tardes",
    ]
    assert "events.tables.tradse: trades, events.topics.tardes: trades?" in warning["hint"]
    # Another session does not say it again.
    world.sql(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{world.name}'")
    await ditto.logged("session.failed")
    world.sql("INSERT INTO trades VALUES (1)")
    await world.fence()
    assert ditto.output.count('"tables.unmatched"') == 1


async def test_nothing_is_said_where_every_key_has_a_table(world: World) -> None:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)")
    ditto = await world.streaming(events_tables={"trade?": ["insert"]} | FENCE)
    await world.fence()
    assert "tables.unmatched" not in ditto.output


@pytest.mark.parametrize(
    ("tables", "scope", "way_out"),
    [
        (None, "for all tables:", "name the tables that are wanted in events.tables"),
        ({"tr*": ["insert"]}, "for all tables, which the key tr* of events.tables needs:", "one by one in place of it"),
        ({"re:.*": ["insert"]}, "for all tables, which the key re:.* of events.tables needs:", "one by one in place"),
        ({"bare": ["insert"]}, "is not created:", "name only other tables in events.tables"),
    ],
)
async def test_tables_without_identity_are_named_with_the_statement(
    world: World, tables: Any, scope: str, way_out: str
) -> None:
    world.sql("CREATE TABLE bare (id int)")
    ditto = world.ditto(**({} if tables is None else {"events_tables": tables}))
    assert await ditto.ended() == 3
    assert scope in ditto.output
    assert "without a usable replica identity: public.bare" in ditto.output
    assert 'ALTER TABLE "public"."bare" REPLICA IDENTITY FULL' in ditto.output.replace(chr(92), "")
    assert way_out in ditto.output


@pytest.mark.parametrize("subject", ["{prefix}._checkpoint", "{prefix}._schema.{data.topic}"])
async def test_an_outbox_on_dittos_own_subjects_is_refused_at_start(world: World, subject: str) -> None:
    world.sql("CREATE TABLE outbox (id int PRIMARY KEY, topic text, payload text)")
    ditto = world.ditto(events_outbox_table="public.outbox", events_outbox_subject=subject)
    assert await ditto.ended() == 2
    assert "events.outbox.subject gives a subject that Ditto uses itself" in ditto.output
    assert not world.sql("SELECT FROM pg_replication_slots WHERE slot_name = current_database()")
