"""`ditto tail`, `verify`, `wait`, `check` and `status` where the events go to Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from sinks.kafka_reading import consume, delete_topics, expire

from ditto.sinks.base import Start
from e2e.formats.test_commands import run
from e2e.process import POLL_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.sinks.kafka_world import KafkaWorld


async def test_snapshot_messages_and_rules(kafka_world: KafkaWorld) -> None:
    world = kafka_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, tenant text)", "ALTER TABLE t REPLICA IDENTITY FULL")
    world.sql("INSERT INTO t SELECT n, 'a b' FROM generate_series(1, 50) n")
    settings = {
        "events_messages": {"orders.*": "{prefix}.{message.prefix}"},
        "events_tables": {
            "fence": {},
            "t": {
                "actions": ["insert", "update", "delete"],
                "key": ["tenant"],
                "headers": {"tenant": "{data.tenant}"},
            },
        },
    }
    await world.streaming(snapshot_mode="initial", **settings)
    world.transaction("INSERT INTO t VALUES (51, 'c')", "SELECT pg_logical_emit_message(true, 'orders.a', '{\"n\":3}')")
    await world.fence()
    verified = await asyncio.to_thread(run, world, "verify", "--json", **settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    report = json.loads(verified.stdout)
    assert (report["differences"], report["reads"] >= 50, report["messages"]) == ([], True, 1)
    rows = [each for each in await world.consumed() if each.topic.endswith("_t")]
    assert {(each.key, each.headers["tenant"]) for each in rows} == {(b"a b", "a b"), (b"c", "c")}
    assert {each.headers["Ditto-Snapshot"] for each in rows if b'"READ"' in each.value} != set()
    (message,) = run(world, "tail", "--no-follow", "--json", "--action", "message").stdout.splitlines()
    assert json.loads(message)["payload"] == {"n": 3}
    last = run(world, "tail", "--no-follow", "--json", "--last", "3").stdout.splitlines()
    assert 1 <= len(last) <= 3
    assert run(world, "tail", "--no-follow", "--json", "--since", "2100-01-01T00:00:00Z").stdout == ""
    own = consume(world.kafka.brokers, [world.own])
    assert any(b'"snapshot":{"state":"finished"' in each.value for each in own)


async def test_tail_follows_topics_that_are_new(kafka_world: KafkaWorld, tmp_path: Path) -> None:
    world = kafka_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE late (id int PRIMARY KEY)")
    await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 3)")
    await world.fence()
    output = tmp_path / "tail.out"
    with output.open("wb") as file:
        process = subprocess.Popen(  # noqa: ASYNC220  it goes on meanwhile
            [sys.executable, "-m", "ditto", "tail", "--json"], env={**os.environ, **world.settings}, stdout=file
        )
    try:
        for number in range(100, 10_000):
            world.sql(f"INSERT INTO late VALUES ({number})")
            await asyncio.sleep(POLL_S)
            if b'"table":"late"' in output.read_bytes():
                break
        assert b'"table":"t"' not in output.read_bytes(), "of before"
    finally:
        process.terminate()
        process.wait(20)


async def test_check_and_status(kafka_world: KafkaWorld) -> None:
    world = kafka_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    world.settings["DITTO_KAFKA_TOPICS_REPLICATION_FACTOR"] = "3"
    refused = checked(world)["kafka.topics"]
    assert refused["level"] == "error"
    assert "cannot create topic" in refused["what"]
    assert "kafka.topics.replication_factor as many replicas as there are brokers" in refused["why"]
    del world.settings["DITTO_KAFKA_TOPICS_REPLICATION_FACTOR"]
    before = checked(world)
    assert "ditto run will create" in before["kafka.topics"]["what"]
    assert before["topic.tail"]["level"] == "ok"
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    status = json.loads(run(world, "status", "--json").stdout)["survey"]["sink"]
    assert (status["kind"], status["tail"]) == ("topic", str(await world.tail()))
    assert await ditto.stop() == 0
    found = checked(world)
    assert {name: each["level"] for name, each in found.items() if name.startswith(("kafka.", "topic."))} == {
        "kafka.connection": "ok",
        "kafka.topics": "ok",
        "kafka.permissions": "ok",
        "kafka.compaction": "ok",
        "kafka.replicas": "ok",
        "topic.tail": "ok",
    }
    world.settings |= {"DITTO_KAFKA_TOPICS_CREATE": "false", "DITTO_EVENTS_PREFIX": "another"}
    missing = checked(world)
    assert missing["kafka.topics"]["level"] == "error"
    assert "kafka-topics.sh" in str(missing["kafka.topics"])


@pytest.mark.parametrize("remove", [delete_topics, pytest.param(expire, marks=pytest.mark.long)])
async def test_topics_of_events_may_be_deleted(kafka_world: KafkaWorld, remove: Callable[..., None]) -> None:
    """Or their events expire. Where Ditto goes on, the record alone says."""
    world = kafka_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 10)")
    await world.fence()
    assert await ditto.stop() == 0
    await asyncio.to_thread(remove, world.kafka.brokers, f"{world.name}_public_t".__eq__)
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(11, 20)")
    assert [event.change[2] for event in await world.events()] == list(range(11, 21))
    read = [each.payload for each in await world.read_from(Start())]
    assert sum(b'"table":"t"' in payload for payload in read) == 10, "by Ditto's own reader"
    assert await ditto.stop() == 0


def checked(world: KafkaWorld) -> dict[str, dict[str, str]]:
    done = run(world, "check", "--json")
    assert done.stdout, done.stderr
    return {each["check"]: each for each in json.loads(done.stdout)}
