"""The programs of the guide "Consumers" crash and stall at random, under load, and their copies equal the tables."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from nats.js.errors import NotFoundError

from e2e.consumer import Consumer, go_program, pause
from e2e.process import eventually
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from pathlib import Path

    from nats.js import JetStreamContext

    from e2e.world import World

ROUNDS = 6
SETTINGS = {"events_metadata": ["primary_key"], "events_schemas": "true"}
GROUPS = {"layout": "array"}, {"layout": "lines", "max_events": "3"}
TABLES = ("traffic", "papers", "emptied")


def make_tables(world: World) -> None:
    world.sql(
        "CREATE TABLE papers (id int PRIMARY KEY, n int, body text)",
        "ALTER TABLE papers ALTER body SET STORAGE EXTERNAL",  # updates of n leave the body out: it is `unchanged`
        "CREATE TABLE emptied (id int PRIMARY KEY)",
    )


def change_tables(world: World, number: int) -> None:
    """What the traffic does not do: large values that stay, and TRUNCATE."""
    world.sql(
        f"INSERT INTO papers VALUES ({number}, 0, repeat('paper ', 3000))",
        f"UPDATE papers SET n = n + 1 WHERE id <= {number}",
        f"UPDATE papers SET id = -id WHERE id = {number - 1}",
        f"INSERT INTO emptied VALUES ({number})",
        "TRUNCATE emptied" if number % 3 == 0 else "SELECT 1",
    )


@pytest.mark.parametrize("kind", ["ordered", pytest.param("durable", marks=pytest.mark.long)])
@pytest.mark.parametrize("language", ["python", pytest.param("go", marks=pytest.mark.long)])
async def test_the_copy_equals_the_tables_whatever_happens_to_its_consumer(
    world: World, tmp_path: Path, language: str, kind: str
) -> None:
    make_tables(world)
    await world.streaming(**SETTINGS)
    consumer = (
        Consumer.in_python(world, kind) if language == "python" else Consumer(world, [str(go_program(tmp_path)), kind])
    )
    chance = random.Random(len(language) + len(kind))
    with closing(consumer), Traffic(world, pause_s=0.02):
        for number in range(1, ROUNDS + 1):
            process = consumer.start()
            change_tables(world, number)
            reached = consumer.sequence + chance.randint(5, 60)
            await eventually(lambda: consumer.sequence >= reached, "the copy goes on")  # noqa: B023  asked at once
            if chance.random() < 0.3:
                await pause(process, 0.8)
                reached = consumer.sequence + 5
                await eventually(lambda: consumer.sequence >= reached, "the copy goes on")  # noqa: B023
            process.end(signal.SIGKILL)
        process = consumer.start()
    with closing(consumer):
        consumer.start()
        await consumer.equals(*TABLES)


async def test_two_processes_of_a_durable_consumer_do_not_overtake_each_other(world: World) -> None:
    """One stalls with a message in its hands, which the other is given again."""
    make_tables(world)
    await world.streaming(**SETTINGS)
    consumer = Consumer.in_python(world, "durable")
    with closing(consumer):
        both = [consumer.start(), consumer.start()]
        with Traffic(world, pause_s=0.02):
            for number in range(1, 5):
                change_tables(world, number)
                await pause(both[number % 2], 0.8)
        await consumer.equals(*TABLES)


async def test_a_reload_under_load_and_what_follows_is_the_tables(world: World) -> None:
    """The rows from before the slot are in no event: they come from the reload."""
    make_tables(world)
    change_tables(world, 1)
    change_tables(world, 2)
    await world.streaming(**SETTINGS)
    consumer = Consumer.in_python(world)
    with closing(consumer):
        with Traffic(world):
            change_tables(world, 4)
            consumer.reload()
            change_tables(world, 5)
            consumer.start()
        await consumer.equals(*TABLES)


@pytest.mark.parametrize("language", ["python", "go"])
@pytest.mark.parametrize(
    "group", [pytest.param(GROUPS[0], id="array"), pytest.param(GROUPS[1], id="lines", marks=pytest.mark.long)]
)
async def test_groups_are_read_as_single_events_are(
    world: World, tmp_path: Path, language: str, group: dict[str, str]
) -> None:
    make_tables(world)
    world.fence_subject = f"{world.name}.transactions"
    await world.streaming(**SETTINGS, **{f"events_group_{name}": value for name, value in group.items()})
    consumer = (
        Consumer.in_python(world) if language == "python" else Consumer(world, [str(go_program(tmp_path)), "ordered"])
    )
    with closing(consumer):
        process = consumer.start()
        with Traffic(world):
            for number in range(1, 8):
                change_tables(world, number)
                reached = consumer.sequence + 3
                await eventually(lambda: consumer.sequence >= reached, "the copy goes on")  # noqa: B023
                process.end(signal.SIGKILL)
                process = consumer.start()
        await consumer.equals(*TABLES)


@pytest.mark.parametrize("language", ["python", "go"])
async def test_a_snapshot_under_load_takes_the_place_of_a_reload(world: World, tmp_path: Path, language: str) -> None:
    """The rows from before the slot come as READ events, which the programs store without knowing of them."""
    make_tables(world)
    for number in range(1, 60):
        change_tables(world, number)
    await world.streaming(snapshot_chunk_rows="7", **SETTINGS)
    consumer = (
        Consumer.in_python(world) if language == "python" else Consumer(world, [str(go_program(tmp_path)), "ordered"])
    )
    with closing(consumer):
        consumer.start()
        with Traffic(world):
            tables = ["public.papers", "public.emptied"]
            request = json.dumps({"start": tables, "run": "r"})
            world.sql(f"SELECT pg_logical_emit_message(true, 'ditto.snapshot', '{request}')")
            for number in range(60, 70):
                change_tables(world, number)
            async with world.jetstream() as jetstream:
                await eventually_finished(jetstream, world)
        await consumer.equals(*TABLES)


async def eventually_finished(jetstream: JetStreamContext, world: World) -> None:
    """The run has ended."""
    deadline = time.monotonic() + 30
    while True:
        with suppress(NotFoundError):
            last = await jetstream.get_last_msg(world.stream, f"{world.name}._snapshot.run")
            if b'"state":"finished"' in (last.data or b""):
                return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_stream_that_was_made_anew_is_not_taken_for_the_old_one(world: World) -> None:
    make_tables(world)
    ditto = await world.streaming(**SETTINGS)
    consumer = Consumer.in_python(world)
    with closing(consumer):
        process = consumer.start()
        await consumer.catches_up()
        process.end(signal.SIGKILL)
        await ditto.stop()
        async with world.jetstream() as jetstream:
            await jetstream.delete_stream(world.stream)
        await world.streaming(delivery_on_gap="continue", **SETTINGS)
        with pytest.raises(Exception, match="reload the copy"):
            consumer.start()
        consumer.reload()
        consumer.start()
        change_tables(world, 1)
        await consumer.equals("papers", "emptied")
