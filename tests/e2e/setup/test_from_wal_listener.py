"""Moving from wal-listener: Ditto goes on in the stream that it leaves, and durable consumers read on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from nats.js.api import AckPolicy, ConsumerConfig

from ditto.cli import main
from ditto.config import load

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World

OLD_EVENT = {"id": "6c0f5a52-6a7b-4c1e-9a53-0d3b2d2f1a10", "schema": "public", "table": "users", "action": "INSERT"}


def configuration(world: World, tmp_path: Path) -> dict[str, Any]:
    """What `ditto config import` makes of wal-listener's file."""
    file = tmp_path / "config.yml"
    content = {
        "listener": {"slotName": world.name, "filter": {"tables": {"users": ["insert"], "fence": ["insert"]}}},
        "database": {"host": "h"},
        "publisher": {"type": "nats", "address": world.nats_server.url, "topic": world.stream},
    }
    file.write_text(json.dumps(content))
    result = CliRunner().invoke(main, ["config", "import", str(file)])
    assert "keep its stream" in result.stderr
    assert "DITTO_DELIVERY_ON_GAP=continue" in result.stderr
    assert "pass over messages that have no action" in result.stderr
    imported = tmp_path / "ditto.yaml"
    imported.write_text(result.stdout)
    events = load(imported, {}, {}).events
    return {
        "events_tables": events.tables,
        "events_prefix": events.prefix,
        "events_subject": events.subject,
        "events_types_profile": "wal-listener",
        "postgres_publication": "wal-listener",
    }


async def test_ditto_goes_on_in_the_stream_that_wal_listener_leaves(world: World, tmp_path: Path) -> None:
    world.sql(
        "CREATE TABLE users (id int PRIMARY KEY)",
        'CREATE PUBLICATION "wal-listener" FOR ALL TABLES',
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
    )
    durable = ConsumerConfig(durable_name="mail", ack_policy=AckPolicy.EXPLICIT, ack_wait=60)
    async with world.jetstream() as jetstream:
        # As wal-listener makes it, and what it does: publish, then confirm.
        await jetstream.add_stream(name=world.stream, subjects=[f"{world.stream}.*"])
        await jetstream.add_consumer(world.stream, durable)
        for number in (1, 2):
            world.sql(f"INSERT INTO users VALUES ({number})")
            event = {**OLD_EVENT, "data": {"id": number}, "dataOld": {}, "commitTime": "2024-01-02T03:04:05.5Z"}
            await jetstream.publish(f"{world.stream}.public_users", json.dumps(event).encode())
        world.sql(
            "SELECT count(*) FROM pg_logical_slot_get_binary_changes("
            f"'{world.name}', NULL, NULL, 'proto_version', '1', 'publication_names', '\"wal-listener\"')"
        )
        consumer = await jetstream.pull_subscribe_bind(consumer="mail", stream=world.stream)
        (first,) = await consumer.fetch(1, timeout=5)
        await first.ack()
    world.sql("INSERT INTO users VALUES (3)")  # nobody runs

    settings = configuration(world, tmp_path)
    refused = world.ditto(**settings)
    assert await refused.ended() == 4
    assert "start once with delivery.on_gap: continue, that is all" in refused.sentence()
    ditto = await world.streaming(delivery_on_gap="continue", **settings)
    world.sql("INSERT INTO users VALUES (4)")
    used = f"{world.stream}.public_users"

    async with world.jetstream() as jetstream:
        consumer = await jetstream.pull_subscribe_bind(consumer="mail", stream=world.stream)

        async def read_until(last: int) -> list[int]:
            """The rows that the durable consumer is given, up to that one."""
            seen: list[int] = []
            while not seen or seen[-1] != last:
                for message in await consumer.fetch(10, timeout=20):
                    event = json.loads(message.data)
                    if "action" in event:
                        assert message.subject == used
                        seen.append(event["data"]["id"])
                    await message.ack()
            return seen

        assert await read_until(4) == [2, 3, 4], "what was left to read, what came while nobody ran, what comes now"
        assert await ditto.stop() == 0
        await world.streaming(**settings)  # the setting is needed only once
        world.sql("INSERT INTO users VALUES (5)")
        assert await read_until(5) == [5]
        info = await jetstream.stream_info(world.stream, subjects_filter=used)
        assert (info.state.subjects or {}).get(used) == 5, "each row is there once"
