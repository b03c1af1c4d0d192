"""`ditto run` with RabbitMQ: what its stream holds, and what becomes of it when something goes wrong."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING

import pytest

from e2e.kills import killed_at_random
from e2e.ledger import Ledger, matches_ledger
from e2e.proxy import Proxy

if TYPE_CHECKING:
    from e2e.sinks.rabbitmq_world import RabbitMQWorld

ROWS = 50_000


async def test_the_stream_against_the_tables(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text, doc json)", "CREATE TABLE u (id int PRIMARY KEY)")
    ditto = await world.streaming(events_schemas=True)
    world.sql(
        "INSERT INTO t SELECT n, 'row ' || n, json_build_object('n', n) FROM generate_series(1, 500) AS n",
        "UPDATE t SET name = E'two\\nlines' WHERE id % 2 = 0",
        "DELETE FROM t WHERE id % 5 = 0",
    )
    world.transaction(*(f"INSERT INTO {'tu'[n % 2]} VALUES ({1000 + n})" for n in range(20)))
    await world.fence()
    await world.matches_tables(event_count=500 + 250 + 100 + 20)
    subjects = {message.subject for message in await world.messages()}
    assert {f"{world.name}_public_t", f"{world.name}_public_u", f"{world.name}._schema.public.t"} <= subjects
    assert await ditto.stop() == 0
    ditto = await world.streaming(events_schemas=True)
    world.sql("INSERT INTO t VALUES (5000, 'after', NULL)")
    await world.fence()
    await world.matches_tables(event_count=500 + 250 + 100 + 20 + 1)
    assert await ditto.stop() == 0


@pytest.mark.parametrize("kill_count", [2, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_killed_at_random_moments(rabbitmq_world: RabbitMQWorld, kill_count: int) -> None:
    world, chance = rabbitmq_world, random.Random(kill_count)
    ditto = await world.streaming()
    with Ledger(world, seed=kill_count) as ledger:
        ditto = await killed_at_random(
            world, ditto, lambda _: ledger.goes_on(chance.randint(5, 40)), count=kill_count, chance=chance
        )
    await matches_ledger(world)
    assert await ditto.stop() == 0


@pytest.mark.parametrize("kill_count", [1, pytest.param(5, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_the_server_is_killed(own_rabbitmq_world: RabbitMQWorld, kill_count: int) -> None:
    """Under load; the process alone: what it has written, the operating system still has."""
    world, chance = own_rabbitmq_world, random.Random(kill_count)
    ditto = await world.streaming()
    with Ledger(world, seed=5) as ledger:
        for number in range(1, kill_count + 1):
            await ledger.goes_on(chance.randint(20, 60))
            world.server.kill()
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(world.server.start)
            await ditto.streaming(count=number + 1, timeout_s=60)
    await matches_ledger(world)
    assert await ditto.stop() == 0


async def test_killed_in_the_middle_of_a_big_transaction(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming()
    world.sql(f"INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) AS n")
    killed_at = []
    for point in (2, 10_000, 25_000):  # with the mark of the session
        await world.holds(point)
        ditto.kill()
        killed_at.append(await world.message_count())
        assert world.confirmed_lsn <= (await world.tail()).commit_lsn
        ditto = world.ditto()
    assert killed_at[0] < ROWS, "the first kill came too late to test anything"
    await world.fence(timeout_s=60)
    assert [event.change[2] for event in await world.events()] == list(range(1, ROWS + 1))


async def test_the_server_hangs(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    ditto = await world.streaming(rabbitmq_ack_timeout="2s")
    with Ledger(world, seed=7) as ledger:
        await ledger.goes_on(20)
        world.server.pause()
        failure = await ditto.logged("session.failed", kind="AckTimeout")
        assert "has not answered for 2 s" in failure["error"]
        world.server.resume()
        await ditto.streaming(count=2, timeout_s=60)
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert await ditto.stop() == 0


@pytest.mark.parametrize("count", [2, pytest.param(10, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_the_connection_is_cut(rabbitmq_world: RabbitMQWorld, count: int) -> None:
    world, chance = rabbitmq_world, random.Random(3)
    async with Proxy(world.server.port) as proxy:
        ditto = await world.streaming(rabbitmq_url=f"rabbitmq-stream://127.0.0.1:{proxy.port}")
        with Ledger(world, seed=9) as ledger:
            for number in range(count):
                await ledger.goes_on(20)
                if number % 2:
                    proxy.cut()
                else:
                    proxy.cut_later(from_client=chance.randint(1, 20_000))
                await ditto.logged("session.failed", count=number + 1)
                await ditto.streaming(count=number + 2, timeout_s=60)
        await matches_ledger(world)
        assert await ditto.stop() == 0


async def test_two_at_once_and_a_stale_one_that_thaws(rabbitmq_world: RabbitMQWorld) -> None:
    """The second works as soon as PostgreSQL has ended the first one's connection; what the first sends is dropped."""
    world = rabbitmq_world
    first = await world.streaming()
    with Ledger(world, seed=11) as ledger:
        await ledger.goes_on(20)
        second = world.ditto()
        await second.logged("slot.standby")
        first.send(signal.SIGSTOP)
        await ledger.goes_on(20)  # what the first finds in its sockets when it goes on
        world.sql(
            f"SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = '{world.name}'"
        )
        await second.streaming(timeout_s=60)
        await ledger.goes_on(20)
        first.send(signal.SIGCONT)
        await first.logged("session.failed")
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert await second.stop() == 0
