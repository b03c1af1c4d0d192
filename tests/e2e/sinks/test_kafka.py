"""`ditto run` with Kafka: what a read_committed consumer sees, also when something goes wrong."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ditto.testing.kafka_server import KafkaServer
from ditto.testing.process import free_port
from e2e.ledger import Ledger, matches_ledger
from e2e.proxy import Proxy
from e2e.sinks.kafka_world import kafka_world_on, server_ends

if TYPE_CHECKING:
    from pathlib import Path

    from ditto.testing.servers import PostgresServer
    from e2e.sinks.kafka_world import KafkaWorld


async def test_the_topics_against_the_tables(kafka_world: KafkaWorld) -> None:
    world = kafka_world
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY, name text, doc json)",
        "CREATE TABLE keyless (n int)",
        "ALTER TABLE keyless REPLICA IDENTITY FULL",
    )
    ditto = await world.streaming()
    world.sql(
        "INSERT INTO t SELECT n, 'row ' || n, json_build_object('n', n) FROM generate_series(1, 500) AS n",
        "UPDATE t SET name = E'two\\nlines' WHERE id % 2 = 0",
        "DELETE FROM t WHERE id % 5 = 0",
        "INSERT INTO keyless SELECT generate_series(1, 20)",
    )
    await world.fence()
    await world.matches_tables(event_count=500 + 250 + 100 + 20)
    found = await world.consumed()
    rows = [each for each in found if each.topic.endswith("_t")]
    assert {each.partition for each in rows} == {0, 1, 2}, "by key"
    partitions: dict[bytes | None, set[int]] = {}
    for each in rows:
        partitions.setdefault(each.key, set()).add(each.partition)
    assert len(partitions) == 500
    assert all(len(each) == 1 for each in partitions.values()), "those of a key are in one"
    keyless = [each for each in found if each.topic.endswith("_keyless")]
    assert {(each.key, each.partition) for each in keyless} == {(None, 0)}
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_the_broker_is_killed(own_kafka_world: KafkaWorld) -> None:
    world = own_kafka_world
    ditto = await world.streaming()
    with Ledger(world, seed=5, pause_s=0.02) as ledger:  # the broker takes seconds to start: that is a lot to read back
        for _ in range(5):
            await ledger.goes_on(50)
            world.kafka.kill()
            await ledger.goes_on(10)
            await asyncio.to_thread(world.kafka.start)
            await world.fence(timeout_s=90)
    await matches_ledger(world)
    assert await ditto.stop() == 0


@pytest.mark.long
async def test_the_broker_freezes(own_kafka_world: KafkaWorld) -> None:
    """For longer than Ditto waits: whether the last transaction was committed, the record says."""
    world = own_kafka_world
    ditto = await world.streaming(kafka_ack_timeout="1s")
    with Ledger(world, seed=3, pause_s=0.003) as ledger:
        await world.fence()  # all topics are there
        await ledger.goes_on(50)
        world.kafka.pause()
        await ditto.logged("session.failed", timeout_s=30)
        world.kafka.resume()
        await ditto.streaming(count=2, timeout_s=60)
    await matches_ledger(world)
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_broker_freezes_again_and_again(own_kafka_world: KafkaWorld) -> None:
    """In every phase of a session, for shorter and for longer than transactions live."""
    world, chance = own_kafka_world, random.Random(9)
    ditto = await world.streaming(kafka_ack_timeout="1s")
    with Ledger(world, seed=9, pause_s=0.02) as ledger:
        for _ in range(12):
            await ledger.goes_on(chance.randint(1, 40))
            world.kafka.pause()
            await asyncio.sleep(chance.choice([0.3, 1.5, 3.0, 6.0]))  # how long it stays frozen
            world.kafka.resume()
            await asyncio.sleep(chance.uniform(0, 2))  # the next time it may be in the middle of a start
        await world.fence(timeout_s=90)
    await matches_ledger(world)
    errors = Counter(entry["error"] for entry in ditto.logs("session.failed"))
    assert not any("has not ended" in error for error in errors), errors
    assert await ditto.stop() == 0


async def test_connections_are_cut(shared_postgres: PostgresServer, tmp_path: Path) -> None:
    """In the middle of what either says. librdkafka connects again by itself, and sends again what it may have sent."""
    port = free_port()
    async with Proxy(port) as proxy:
        server = KafkaServer(
            tmp_path / "kafka",
            listeners={"PROXIED": "PLAINTEXT"},
            advertised={"PROXIED": proxy.port},
            ports={"PROXIED": port},
        )
        await asyncio.to_thread(server.start)
        with server_ends(server), kafka_world_on(shared_postgres, server, tmp_path) as world:
            ditto = await world.streaming(kafka_brokers=f"127.0.0.1:{proxy.port}")
            chance = random.Random(5)
            with Ledger(world, seed=5, pause_s=0.003) as ledger:
                for number in range(6):
                    await ledger.goes_on(20)
                    budget = chance.randint(1, 5000)
                    if number % 3 == 0:
                        proxy.cut()
                    elif number % 3 == 1:
                        proxy.cut_later(from_server=budget)
                    else:
                        proxy.cut_later(from_client=budget)
                proxy.cut()
            await matches_ledger(world)
            assert await ditto.stop() == 0


async def test_two_at_once(kafka_world: KafkaWorld) -> None:
    """PostgreSQL lets one of them read; when that one is killed, the other goes on from the record."""
    world = kafka_world
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    with Ledger(world, seed=6) as ledger:
        await ledger.goes_on(50)
        first.kill()
        await second.streaming(timeout_s=60)
        await ledger.goes_on(50)
    await matches_ledger(world)
    assert not second.logs("session.failed")
    assert await second.stop() == 0


async def test_one_that_was_frozen_stores_nothing_when_it_thaws(kafka_world: KafkaWorld) -> None:
    world = kafka_world
    world.sql(f"ALTER DATABASE {world.name} SET wal_sender_timeout = '1s'")
    first = await world.streaming(kafka_ack_timeout="30s")
    second = world.ditto(kafka_ack_timeout="30s")  # the broker aborts no transaction of the first by itself
    await second.logged("slot.standby")
    with Ledger(world, seed=7, pause_s=0.001) as ledger:
        await ledger.goes_on(100)
        first.send(signal.SIGSTOP)
        await second.streaming(timeout_s=60)
        await ledger.goes_on(50)
        first.send(signal.SIGCONT)
        await first.logged("session.failed", timeout_s=60)
        await ledger.goes_on(50)
    await matches_ledger(world)
    assert not second.logs("session.failed")


@pytest.mark.long
async def test_a_transaction_that_the_broker_aborts(kafka_world: KafkaWorld) -> None:
    """A Ditto that was frozen for longer than a transaction may stay open goes on by itself."""
    world = kafka_world
    ditto = await world.streaming(kafka_ack_timeout="1s")
    with Ledger(world, seed=8, pause_s=0.001) as ledger:
        await ledger.goes_on(50)
        ditto.send(signal.SIGSTOP)
        await asyncio.sleep(4)  # of transaction.timeout.ms, which is 2 s
        ditto.send(signal.SIGCONT)
        await ledger.goes_on(50)
    await matches_ledger(world)
    assert await ditto.stop() == 0
