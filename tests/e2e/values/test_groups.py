"""`events.group`: a transaction in one message, or in several that are full; every event once, whatever is killed."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from nats.js.api import ConsumerConfig, DeliverPolicy

from ditto.formats.stored_groups import events_in
from e2e.kills import killed_at_random
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually
from e2e.proxy import Proxy
from e2e.snapshots.finished import snapshot_finished

if TYPE_CHECKING:
    from e2e.world import World

GROUPED = {"events_group_by": "transaction"}


@pytest.fixture(autouse=True)
def _fence(world: World) -> None:
    world.fence_subject = f"{world.name}.transactions"


async def groups_of(world: World) -> list[tuple[dict[str, str], list[dict[str, Any]]]]:
    """Headers and events of each group, without that of the fence."""
    await world.fence()
    found = []
    async with world.jetstream() as jetstream:
        place = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        subscription = await jetstream.subscribe(
            world.fence_subject, stream=world.stream, ordered_consumer=True, config=place
        )
        async for message in subscription.messages:
            events = [json.loads(each) for each in events_in(message.data)]
            if events[0]["table"] != "fence":
                found.append((dict(message.headers or {}), events))
            if not message.metadata.num_pending:
                break
    return found


async def test_a_transaction_is_a_message(world: World) -> None:
    world.sql("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY, doc json)")
    await world.streaming(**GROUPED)
    world.transaction(
        "INSERT INTO a VALUES (1), (2)", """INSERT INTO b VALUES (1, '{"a":\n1}')""", "DELETE FROM a WHERE id = 1"
    )
    world.sql("TRUNCATE a, b")
    (headers, events), (_, truncated) = await groups_of(world)
    assert [(each["table"], each["action"]) for each in events] == [
        ("a", "INSERT"),
        ("a", "INSERT"),
        ("b", "INSERT"),
        ("a", "DELETE"),
    ]
    assert [each["action"] for each in truncated] == ["TRUNCATE", "TRUNCATE"]
    assert headers["Ditto-Position"].endswith(":4")
    told = {name: value for name, value in headers.items() if name.startswith("Ditto-") and name != "Ditto-Position"}
    assert told == {
        "Ditto-Id": events[-1]["id"],
        "Ditto-Commit-Time": events[0]["commitTime"],
        "Ditto-First": "1",
        "Ditto-Events": "4",
        "Ditto-Group": "1",
        "Ditto-Group-Last": "true",
    }
    await world.matches_tables(event_count=6)


async def test_lines(world: World) -> None:
    world.sql("CREATE TABLE b (id int PRIMARY KEY, doc json)")
    await world.streaming(events_group_layout="lines", events_group_subject="{prefix}.{database}.lines")
    world.fence_subject = f"{world.name}.{world.name}.lines"
    world.sql("""INSERT INTO b VALUES (1, '{"a":\n1}'), (2, '"\\n"')""")
    ((_, events),) = await groups_of(world)
    assert [each["data"]["doc"] for each in events] == [{"a": 1}, "\n"]  # white space of json becomes one line
    world.sql("UPDATE b SET doc = '{}'")
    await world.fence()
    await world.matches_tables(event_count=4)


async def test_a_large_transaction_is_several(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    await world.streaming(events_group_max_events="100", events_group_max_bytes="8kB")
    world.sql("INSERT INTO t SELECT i, repeat('x', i % 7 * 100) FROM generate_series(1, 1000) AS i")
    found = await groups_of(world)
    assert [int(headers["Ditto-Group"]) for headers, _ in found] == list(range(1, len(found) + 1))
    assert ["Ditto-Group-Last" in headers for headers, _ in found] == [False] * (len(found) - 1) + [True]
    assert [each["data"]["id"] for _, events in found for each in events] == list(range(1, 1001))
    assert max(len(events) for _, events in found) <= 100
    assert max(sum(len(json.dumps(each)) for each in events) for _, events in found) <= 8500


async def test_what_is_stored_apart_keeps_its_place(world: World) -> None:
    """Descriptions of tables, and a snapshot that the transaction itself asks for."""
    world.sql("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
    await world.streaming(events_schemas="true", events_metadata="lsn,ordinal", **GROUPED)
    request = json.dumps({"start": ["public.b"], "run": "r"})
    world.transaction(
        "INSERT INTO a VALUES (1), (2)",
        "INSERT INTO b VALUES (1)",
        f"SELECT pg_logical_emit_message(true, 'ditto.snapshot', '{request}')",
        "INSERT INTO a VALUES (3)",
    )
    await snapshot_finished(world)
    messages = await world.messages()
    subjects = [each.subject.removeprefix(world.name) for each in messages if "_checkpoint" not in each.subject]
    assert subjects[:7] == [
        "._schema.public.a",
        ".transactions",
        ".transactions",
        "._schema.public.b",
        ".transactions",
        "._snapshot.run",
        ".transactions",
    ]
    reads = [each for each in messages if each.event.get("action") == "READ"]
    assert [each.change[2] for each in reads] == [1]
    assert reads[0].headers["Ditto-Snapshot"] == "r"
    await world.matches_tables()


async def test_a_restart_goes_on_in_the_middle_of_a_transaction(world: World) -> None:
    """The numbers of its groups go on, too."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    settings = {"events_group_max_events": "50", "delivery_max_in_flight": "40"}
    ditto = await world.streaming(**settings)
    world.sql("INSERT INTO t SELECT i, repeat('x', 400) FROM generate_series(1, 60000) AS i")
    killed = []
    for point in (50, 300, 600, 900):
        await world.holds(point)
        ditto.kill()
        killed.append((await world.info()).state.last_seq)
        ditto = world.ditto(**settings)
    assert killed[-2] < 1200, f"killed at {killed}: too late to test anything"
    await ditto.streaming(timeout_s=60)
    found = await groups_of(world)
    assert [each["data"]["id"] for _, events in found for each in events] == list(range(1, 60001))
    assert [int(headers["Ditto-Group"]) for headers, _ in found] == list(range(1, len(found) + 1))
    assert ["Ditto-Group-Last" in headers for headers, _ in found] == [False] * (len(found) - 1) + [True]


async def test_groups_begin_and_end_in_the_middle_of_a_transaction(world: World) -> None:
    """As a configuration does that is changed between two starts."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    plain, grouped = {"delivery_max_in_flight": "40"}, {"events_group_max_events": "50", "delivery_max_in_flight": "40"}
    async with Proxy(world.nats_server.port) as proxy:
        url = {"nats_url": f"nats://127.0.0.1:{proxy.port}"}
        ditto = await world.streaming(**plain, **url)
        proxy.delay_s = 0.003  # 40 events a round trip: the whole takes seconds, on any machine
        world.sql("INSERT INTO t SELECT i, repeat('x', 400) FROM generate_series(1, 8000) AS i")
        for stored, settings in ((500, grouped), (550, plain), (1200, grouped)):
            await world.holds(stored)
            ditto.kill()
            ditto = world.ditto(**settings, **url)
        await ditto.streaming(timeout_s=60)
        proxy.delay_s = 0.0
        await world.fence()
    events = [each for each in await world.messages() if each.event.get("table") == "t"]
    assert [each.position.ordinal for each in events] == list(range(1, 8001))
    assert {each.subject for each in events} == {f"{world.name}_public_t", f"{world.name}.transactions"}
    await world.matches_tables()


@pytest.mark.parametrize("layout", ["array", "lines"])
@pytest.mark.long
async def test_killed_again_and_again_under_load(world: World, layout: str) -> None:
    chance = random.Random(3)
    settings = {"events_group_layout": layout, "events_group_max_events": "20", "events_metadata": "ordinal"}
    ditto = await world.streaming(**settings)
    with Ledger(world, seed=5) as ledger:
        await killed_at_random(world, ditto, lambda _: ledger.goes_on(30), count=6, chance=chance, **settings)
        await ledger.goes_on(100)
    await matches_ledger(world)


async def test_a_snapshot_under_load_killed_again_and_again(world: World) -> None:
    """READ rows go in groups, and a run goes on after the last row of the last group."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    world.sql("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 3000) AS i")
    settings = {"snapshot_chunk_rows": "100", "events_metadata": "ordinal", **GROUPED}
    chance = random.Random(4)
    ditto = await world.streaming(**settings)
    request = json.dumps({"start": ["public.t"], "run": "r"})
    world.sql(f"SELECT pg_logical_emit_message(true, 'ditto.snapshot', '{request}')")
    with Ledger(world, seed=6) as ledger:
        await killed_at_random(world, ditto, lambda _: ledger.goes_on(5), count=4, chance=chance, **settings)

        await snapshot_finished(world)
    await matches_ledger(world)
    reads = [each for each in await world.messages() if each.event.get("action") == "READ"]
    assert sorted({each.change[2] for each in reads}) == list(range(1, 3001))


async def test_ditto_wait_and_a_clean_end_leave_nothing_waiting(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(**GROUPED)
    for number in range(20):
        world.sql(f"INSERT INTO t SELECT {number * 100} + i FROM generate_series(1, 30) AS i")
    await world.confirms_tail()
    assert await ditto.stop() == 0
    tail = await world.tail()
    await eventually(lambda: world.confirmed_lsn >= tail.commit_lsn, "what is stored is confirmed")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"file_path": "/tmp/nothing"}, "a line of its own"),
        ({"events_topics": {"t": "x"}}, "exclude each other"),
        ({"events_tables": {"t": {"headers": {"a": "{data.id}"}}}}, "share one subject and its headers"),
        ({"events_group_subject": "{table}"}, "placeholder {table}"),
        ({"events_group_subject": "{prefix}._checkpoint"}, "checkpoints"),
    ],
)
async def test_what_cannot_go_together_is_an_error(world: World, settings: dict[str, Any], words: str) -> None:
    if "file_path" in settings:
        world.settings = {name: value for name, value in world.settings.items() if "_NATS_" not in name}
    ditto = world.ditto(**GROUPED, **settings)
    assert await ditto.ended() in {2, 4}
    assert words in ditto.output
