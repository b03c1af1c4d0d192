"""Which changes pass, and on which subjects they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2e.world import World

FENCE = {"fence": ["insert"]}


async def test_only_listed_tables_and_actions_pass(world: World) -> None:
    world.sql(
        *(f"CREATE TABLE {name} (id int PRIMARY KEY)" for name in ("trades", "accounts", "other")),
        "CREATE SCHEMA audit",
        *(f"CREATE TABLE audit.{name} (id int PRIMARY KEY)" for name in ("trades", "log")),
    )
    tables = {"public.trades": ["insert", "DELETE"], "accounts": ["update", "truncate"], "audit.*": ["insert"]}
    await world.streaming(events_tables=tables | FENCE)
    for table in ("trades", "accounts", "other", "audit.trades", "audit.log"):
        world.sql(
            f"INSERT INTO {table} VALUES (1)",
            f"UPDATE {table} SET id = 2",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
        )
    passed = [(event.event["schema"], *event.change[:2]) for event in await world.events()]
    assert passed == [
        ("public", "trades", "INSERT"),
        ("public", "trades", "DELETE"),
        ("public", "accounts", "UPDATE"),
        ("public", "accounts", "TRUNCATE"),
        ("audit", "trades", "INSERT"),
        ("audit", "log", "INSERT"),
    ]


async def test_a_transaction_of_nothing_but_filtered_changes_is_passed_over(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE noise (id int PRIMARY KEY)")
    ditto = await world.streaming(events_tables={"t": ["insert"], "x*": ["insert"]} | FENCE)
    world.sql(
        "INSERT INTO t VALUES (1)", "INSERT INTO noise SELECT generate_series(1, 5000)", "INSERT INTO t VALUES (2)"
    )
    assert [event.change[2] for event in await world.events()] == [1, 2]
    assert await ditto.stop() == 0
    last = (await world.messages())[-1].position.commit_lsn
    assert world.confirmed_lsn >= last


async def test_mapped_tables_get_the_subject_as_it_stands(world: World) -> None:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)", "CREATE TABLE others (id int PRIMARY KEY)")
    topic = f"{world.name}-transactions"
    await world.streaming(events_topics={"trades": topic})
    world.sql("INSERT INTO trades VALUES (1)", "INSERT INTO others VALUES (1)", "DELETE FROM trades")
    assert [event.subject for event in await world.events()] == [topic, f"{world.name}_public_others", topic]


ODD = {
    "a.b": "a%2Eb",
    "a b": "a%20b",
    'a"b': 'a"b',
    "a'b": "a'b",
    "Größe": "Größe",
    "UPPER": "UPPER",
    "100%": "100%25",
    "a*>": "a%2A%3E",
    "$1": "$1",
    "tab\there": "tab%09here",
    "🙂": "🙂",
    "{brace}": "{brace}",
}


@pytest.mark.parametrize("template", ["{prefix}_{schema}_{table}", "{prefix}.{schema}.{table}"])
async def test_odd_table_names(world: World, template: str) -> None:
    world.sql('CREATE SCHEMA "s.1"')
    for name in ODD:
        quoted = name.replace('"', '""')
        world.sql(f'CREATE TABLE "s.1"."{quoted}" (id int PRIMARY KEY, "{quoted}" int)')
    separator = template[8]
    world.fence_subject = f"{world.name}{separator}public{separator}fence"
    await world.streaming(events_subject=template)
    for name in ODD:
        quoted = name.replace('"', '""')
        world.sql(f'INSERT INTO "s.1"."{quoted}" VALUES (1, 2)')
    events = await world.events()
    assert [event.event["table"] for event in events] == list(ODD)
    assert [event.subject for event in events] == [
        f"{world.name}{separator}s%2E1{separator}{token}" for token in ODD.values()
    ]
    assert [event.event["data"] for event in events] == [{"id": 1, name: 2} for name in ODD]
    await world.matches_tables(event_count=len(ODD))


async def test_a_new_tables_subject_is_added_before_its_first_event(world: World) -> None:
    ditto = await world.streaming()
    subjects = (await world.info()).config.subjects or []
    assert f"{world.name}_public_fence" in subjects
    assert f"{world.name}_public_late" not in subjects
    world.sql("INSERT INTO fence DEFAULT VALUES")
    world.transaction(
        "INSERT INTO fence DEFAULT VALUES",
        "CREATE TABLE late (id int PRIMARY KEY)",
        "INSERT INTO late SELECT generate_series(1, 3)",
        "CREATE TABLE later (id int PRIMARY KEY)",
        "INSERT INTO later VALUES (4)",
    )
    assert [event.change[2] for event in await world.events()] == [1, 2, 3, 4]
    assert not ditto.logs("session.failed")
    await world.matches_tables(event_count=4)


async def test_a_dotted_template_covers_new_tables(world: World) -> None:
    world.fence_subject = f"{world.name}.fence.insert"
    await world.streaming(events_subject="{prefix}.{table}.{action}")
    assert (await world.info()).config.subjects == [f"{world.name}.>"]
    world.sql("CREATE TABLE late (id int PRIMARY KEY)", "INSERT INTO late VALUES (1)", "DELETE FROM late")
    assert [event.subject for event in await world.events()] == [
        f"{world.name}.late.insert",
        f"{world.name}.late.delete",
    ]
    assert (await world.info()).config.subjects == [f"{world.name}.>"]


async def test_a_stream_of_somebody_else_gets_no_subjects(world: World) -> None:
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=[f"{world.name}._checkpoint", world.fence_subject])
    ditto = await world.streaming()
    world.sql("CREATE TABLE late (id int PRIMARY KEY)", "INSERT INTO late VALUES (1)")
    assert await ditto.ended() == 4
    assert f"{world.name}_public_late" in ditto.sentence()
    assert "did not create" in ditto.sentence()
    # Once somebody has added it, Ditto goes on where it stopped.
    async with world.jetstream() as jetstream:
        config = (await jetstream.stream_info(world.stream)).config
        config.subjects = [*(config.subjects or []), f"{world.name}_public_late"]
        await jetstream.update_stream(config)
    await world.streaming()
    await world.matches_tables(event_count=1)


async def test_two_tables_never_share_a_subject_by_accident(world: World) -> None:
    world.sql(
        "CREATE SCHEMA a_b",
        "CREATE SCHEMA a",
        "CREATE TABLE a_b.c (id int PRIMARY KEY)",
        "CREATE TABLE a.b_c (id int PRIMARY KEY)",
    )
    ditto = world.ditto()
    assert await ditto.ended() == 4
    assert "a_b.c" in ditto.sentence()
    assert "a.b_c" in ditto.sentence()
    world.sql("DROP TABLE a_b.c")
    await world.streaming()


async def test_a_dotted_template_takes_the_place_of_many_subjects(world: World) -> None:
    """What `ditto check` advises, on a stream that was filled with the default template."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    assert await ditto.stop() == 0
    await world.streaming(events_subject="{prefix}.{schema}.{table}")
    subjects = (await world.info()).config.subjects or []
    assert f"{world.name}.>" in subjects
    assert f"{world.name}._checkpoint" not in subjects, "the wildcard covers it"
    world.fence_subject = f"{world.name}.public.fence"
    world.sql("INSERT INTO t VALUES (2)", "CREATE TABLE late (id int PRIMARY KEY)", "INSERT INTO late VALUES (3)")
    await world.fence()
    await world.matches_tables(event_count=3)
    assert (await world.info()).config.subjects == subjects


@pytest.mark.long
async def test_three_thousand_tables(own_world: World) -> None:
    """Their subjects are asked for at once, and a new table's are there before its first event, or are waited for."""
    world = own_world
    world.sql(
        *(
            f"DO $$ BEGIN FOR i IN {first}..{first + 299} LOOP "
            "EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', i); END LOOP; END $$"
            for first in range(0, 3000, 300)
        )
    )
    ditto = world.ditto()
    await ditto.streaming(timeout_s=60)
    world.sql("CREATE TABLE ahead (id int PRIMARY KEY)")
    await ditto.logged("stream.subjects_added", subjects=[f"{world.name}_public_ahead"], timeout_s=30)
    world.sql("INSERT INTO ahead VALUES (1)", "CREATE TABLE late (id int PRIMARY KEY)", "INSERT INTO late VALUES (1)")
    world.sql("INSERT INTO t1 SELECT generate_series(1, 2000)")
    await world.fence(timeout_s=60)
    await world.matches_tables(event_count=2002)
    assert not ditto.logs("session.failed")
    warning = await ditto.logged("check.warning", check="stream.subject_count", timeout_s=60)
    assert "3,00" in str(warning)
    assert await ditto.stop() == 0
