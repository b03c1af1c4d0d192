"""The permissions that the documentation gives keep others from imitating Ditto."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import nats
from nats.js.api import ConsumerConfig

from ditto.testing.servers import NatsServer
from e2e.world import World

if TYPE_CHECKING:
    from ditto.testing.servers import PostgresServer

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def documented() -> str:
    """The configuration, with passwords."""
    text = OPERATIONS.read_text().partition("<!-- file: nats-permissions.conf -->\n```\n")[2].partition("```")[0]
    return text.replace("$DITTO_PASSWORD", "secret-d").replace("$READER_PASSWORD", "secret-r")


async def test_a_reader_reads_and_cannot_imitate(shared_postgres: PostgresServer, tmp_path: Path) -> None:
    config = documented().replace(".DITTO.", ".PERMITTED.")
    assert config.count("PERMITTED") == 3
    with NatsServer(tmp_path / "nats", config=config) as server:
        world = World(shared_postgres, server, name="permitted", folder=tmp_path)
        try:
            await reads_and_cannot_imitate(world)
        finally:
            world.close()
            world.sql(
                "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots "
                "WHERE slot_name = 'permitted' AND active",
                "SELECT pg_drop_replication_slot('permitted')",
                dsn=shared_postgres.dsn,
            )


async def reads_and_cannot_imitate(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    login = {"nats_user": "ditto", "nats_password": "secret-d"}
    ditto = await world.streaming(**login)
    world.sql("INSERT INTO t VALUES (1)")
    refusals: asyncio.Queue[str] = asyncio.Queue()

    async def on_error(error: Exception) -> None:
        await refusals.put(str(error))

    owner = await nats.connect(world.nats_server.url, user="ditto", password="secret-d")
    reader = await nats.connect(world.nats_server.url, user="reader", password="secret-r", error_cb=on_error)
    try:
        await owner.jetstream().add_consumer(world.stream, ConsumerConfig(durable_name="reader"))
        subscription = await reader.jetstream().pull_subscribe_bind(durable="reader", stream=world.stream)
        (message,) = await subscription.fetch(1, timeout=10)
        await message.ack()
        before = (await owner.jetstream().stream_info(world.stream)).state.last_seq
        for subject in (
            f"{world.name}_public_t",
            f"{world.name}._checkpoint",
            f"$JS.API.STREAM.PURGE.{world.stream}",
            f"$JS.API.STREAM.UPDATE.{world.stream}",
            f"$JS.API.CONSUMER.CREATE.{world.stream}.mine",
            "$JS.API.STREAM.CREATE.MINE",
            f"$KV.ditto_leases.{world.stream}.{world.name}",
        ):
            await reader.publish(subject, b"{}", headers={"Ditto-Position": "FFFF/0:1"})
            async with asyncio.timeout(10):
                assert "permissions violation" in (await refusals.get()).lower()
        assert (await owner.jetstream().stream_info(world.stream)).state.last_seq == before
    finally:
        await reader.close()
        await owner.close()
    assert await ditto.stop() == 0
