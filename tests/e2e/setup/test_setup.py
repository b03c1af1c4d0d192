"""What `ditto run` creates, what it uses as it is, and what it refuses to touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from e2e.world import World

PUBLICATION = "SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication"


def tables_of_publication(world: World) -> list[tuple[str, str]]:
    return world.sql("SELECT schemaname::text, tablename::text FROM pg_publication_tables ORDER BY 1, 2")


async def test_publication_for_all_tables_and_slot_are_created(world: World) -> None:
    await world.streaming()
    assert world.sql(PUBLICATION) == [(True, True)]
    assert world.value(f"SELECT plugin FROM pg_replication_slots WHERE slot_name = '{world.name}'") == "pgoutput"


async def test_publication_of_exactly_the_tables_that_are_named(world: World) -> None:
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE other (id int PRIMARY KEY)",
        "CREATE TABLE without_identity (id int)",
        "CREATE SCHEMA s",
        "CREATE TABLE s.t (id int PRIMARY KEY)",
        'CREATE TABLE s."Upper Case" (id int PRIMARY KEY)',
    )
    tables = {"t": ["insert"], "s.Upper Case": ["insert"], "fence": ["insert"]}
    await world.streaming(events_tables=tables)
    assert tables_of_publication(world) == [("public", "fence"), ("public", "t"), ("s", "Upper Case"), ("s", "t")]
    assert world.sql(PUBLICATION) == [(False, True)]


async def test_an_existing_publication_is_used_untouched(world: World) -> None:
    narrow = "(id) WHERE (id > 10)" if world.major >= 15 else ""
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY, note text)",
        "CREATE TABLE other (id int PRIMARY KEY)",
        f"CREATE PUBLICATION {world.name} FOR TABLE t {narrow}, fence WITH (publish = 'insert, update')",
    )
    before = world.sql("SELECT * FROM pg_publication", "SELECT * FROM pg_publication_rel ORDER BY 1")
    await world.streaming()
    world.sql(
        "INSERT INTO t VALUES (1, 'x'), (11, 'x')",
        "UPDATE t SET id = 12 WHERE id = 1",  # enters the filter: an INSERT
        "DELETE FROM t",
        "INSERT INTO other VALUES (1)",
    )
    events = [event.event for event in await world.events()]
    expected: list[tuple[str, dict[str, object]]] = [("INSERT", {"id": 11}), ("INSERT", {"id": 12})]
    if not narrow:
        rows: list[dict[str, object]] = [{"id": number, "note": "x"} for number in (1, 11, 12)]
        expected = list(zip(("INSERT", "INSERT", "UPDATE"), rows, strict=True))
    assert [(event["action"], event["data"]) for event in events] == expected
    assert world.sql("SELECT * FROM pg_publication", "SELECT * FROM pg_publication_rel ORDER BY 1") == before


async def test_odd_publication_name(world: World) -> None:
    name = """Shop's "own" publication"""
    await world.streaming(postgres_publication=name)
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    assert len(await world.events()) == 1
    assert world.sql("SELECT pubname::text FROM pg_publication") == [(name,)]


MISSING_IDENTITY = (
    "CREATE TABLE bare (id int)",
    "CREATE TABLE nothing (id int PRIMARY KEY)",
    "ALTER TABLE nothing REPLICA IDENTITY NOTHING",
    "CREATE TABLE whole (id int)",
    "ALTER TABLE whole REPLICA IDENTITY FULL",
    "CREATE TABLE keyed (id int PRIMARY KEY)",
    "CREATE TABLE parted (id int) PARTITION BY RANGE (id)",
    "CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10)",
    "CREATE UNLOGGED TABLE unlogged (id int)",
    "INSERT INTO bare VALUES (1)",
)


async def test_no_publication_that_would_break_the_applications_updates(world: World) -> None:
    world.sql(*MISSING_IDENTITY)
    ditto = world.ditto()
    assert await ditto.ended() == 3
    sentence = ditto.sentence()
    assert "public.bare, public.nothing, public.part" in sentence
    assert not any(name in sentence for name in ("whole", "keyed", "unlogged", "parted"))
    assert "hint: " in sentence
    assert world.sql("SELECT 1 FROM pg_publication") == []
    assert world.sql(f"SELECT 1 FROM pg_replication_slots WHERE database = '{world.name}'") == []
    world.sql("UPDATE bare SET id = 2")


async def test_the_refusal_is_about_a_rule_that_postgresql_really_has(world: World) -> None:
    world.sql(*MISSING_IDENTITY)
    await world.streaming(postgres_allow_missing_identity=True)
    for table in ("bare", "nothing", "part"):
        for statement in (f"UPDATE {table} SET id = 2", f"DELETE FROM {table}"):
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="replica identity"):
                world.sql(statement)
    world.sql("INSERT INTO bare VALUES (3)", "UPDATE whole SET id = 2", "UPDATE keyed SET id = 2")
    assert [event.change for event in await world.events()] == [("bare", "INSERT", 3)]


async def test_generated_columns_in_an_identity_are_refused_where_postgresql_refuses_them(world: World) -> None:
    """From 18 on, UPDATE fails where the identity has generated columns that are not published."""
    generated = "int GENERATED ALWAYS AS (id + 1) STORED"
    world.sql(
        f"CREATE TABLE whole (id int PRIMARY KEY, g {generated})",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        f"CREATE TABLE keyed (id int, g {generated} PRIMARY KEY)",
        f"CREATE TABLE covered (id int NOT NULL, g {generated})",
        "CREATE UNIQUE INDEX by_id ON covered (id) INCLUDE (g)",
        "ALTER TABLE covered REPLICA IDENTITY USING INDEX by_id",
        f"CREATE TABLE fine (id int PRIMARY KEY, g {generated})",
    )
    tables = ("whole", "keyed", "covered", "fine")
    world.sql("CREATE PUBLICATION probe FOR ALL TABLES", *(f"INSERT INTO {table} VALUES (1)" for table in tables))
    refused = []
    for table in tables:
        try:
            world.sql(f"UPDATE {table} SET id = 2")
        except psycopg.errors.InvalidColumnReference:
            refused.append(f"public.{table}")
    world.sql("DROP PUBLICATION probe")
    assert refused == (["public.whole", "public.keyed"] if world.major >= 18 else [])
    if not refused:
        await world.streaming()
        return
    ditto = world.ditto()
    assert await ditto.ended() == 3
    assert f"replica identity: {', '.join(sorted(refused))}" in ditto.sentence()
    assert "generated columns" in ditto.sentence()


async def test_tables_without_identity_that_are_not_named_do_not_matter(world: World) -> None:
    world.sql(*MISSING_IDENTITY)
    await world.streaming(events_tables={"keyed": ["insert"], "fence": ["insert"]})
    ditto = world.ditto(
        postgres_publication="two", postgres_slot=f"{world.name}_2", events_tables={"parted": ["insert"]}
    )
    assert await ditto.ended() == 4, "the stream belongs to the first slot"
    ditto = world.ditto(
        postgres_publication="two",
        postgres_slot=f"{world.name}_2",
        nats_stream=f"{world.stream}_2",
        events_prefix=f"{world.name}_2",
        events_tables={"parted": ["insert"]},
    )
    assert await ditto.ended() == 3
    assert "public.part" in ditto.sentence()


async def test_a_table_that_does_not_exist_is_named(world: World) -> None:
    ditto = world.ditto(events_tables={"fence": ["insert"], "tradez": ["insert"]})
    assert await ditto.ended() == 2
    assert "tradez" in ditto.sentence()


async def test_nothing_is_created_where_that_is_not_allowed(world: World) -> None:
    settings = {"postgres_create": False, "nats_create": False}

    async def refusal(code: int) -> str:
        ditto = world.ditto(**settings)
        assert await ditto.ended() == code
        assert "hint: " in ditto.sentence()
        return ditto.sentence()

    assert f"stream {world.stream} does not exist" in await refusal(4)
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=[f"{world.name}._checkpoint"])
    assert f"publication {world.name} does not exist" in await refusal(3)
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    assert f"slot {world.name} does not exist" in await refusal(3)
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')")
    assert world.fence_subject in await refusal(4)
    async with world.jetstream() as jetstream:
        config = (await jetstream.stream_info(world.stream)).config
        config.subjects = [f"{world.name}._checkpoint", world.fence_subject]
        await jetstream.update_stream(config)
    await world.streaming(**settings)
    assert await world.events() == []


@pytest.mark.parametrize(
    ("creation", "words"),
    [
        ("pg_create_logical_replication_slot('{}', 'test_decoding')", "plugin test_decoding"),
        ("pg_create_physical_replication_slot('{}', true)", "physical slot"),
        ("pg_create_logical_replication_slot('{}', 'pgoutput', false, true)", "two_phase"),
    ],
)
async def test_a_slot_that_was_not_made_for_ditto(world: World, creation: str, words: str) -> None:
    try:
        world.sql(f"SELECT {creation.format(world.name)}")
    except psycopg.errors.UndefinedFile:
        pytest.skip("this PostgreSQL came without that plugin")
    try:
        ditto = world.ditto()
        assert await ditto.ended() == 3
        assert words in ditto.sentence()
        assert world.name in ditto.sentence()
        assert await world.message_count() == 0
    finally:
        world.sql(f"SELECT pg_drop_replication_slot('{world.name}')")


async def test_a_slot_of_another_database(world: World) -> None:
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')", dsn=world.postgres.dsn)
    try:
        ditto = world.ditto()
        assert await ditto.ended() == 3
        assert "belongs to database postgres" in ditto.sentence()
    finally:
        world.sql(f"SELECT pg_drop_replication_slot('{world.name}')", dsn=world.postgres.dsn)


async def test_a_publication_that_is_younger_than_the_slot(world: World) -> None:
    """PostgreSQL 18 would only warn, and leave out the rows; older ones fail for ever."""
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
        "INSERT INTO t VALUES (1)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        "INSERT INTO t VALUES (2)",
    )
    ditto = world.ditto()
    assert await ditto.ended() == 3
    assert "publication" in ditto.sentence()
    assert "created after the slot" in ditto.sentence()
    assert not [message for message in await world.messages() if message.subject != f"{world.name}._checkpoint"]


async def test_the_stream_is_made_for_one_writer(world: World) -> None:
    await world.streaming()
    config = (await world.info()).config
    assert config.storage == "file"
    assert config.discard == "new"
    assert config.retention == "limits"
    assert config.max_age == 0
    assert config.metadata is not None
    assert config.metadata["ditto.slot"] == world.name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"storage": "memory"}, "memory"),
        ({"max_msgs": 1000}, "max_msgs"),
        ({"max_age": 3600}, "shorter than a day"),
        ({"retention": "interest"}, "retention"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject"),
    ],
)
async def test_a_risky_stream_is_used_with_a_warning(world: World, settings: dict[str, Any], words: str) -> None:
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=[f"{world.name}.>", f"{world.name}_>"], **settings)
    ditto = await world.streaming(events_subject="{prefix}.{schema}.{table}")
    assert any(words in entry["reason"] for entry in ditto.logs("stream.risk"))
