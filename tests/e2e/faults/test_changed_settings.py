"""Settings of the stream and of nats-server are changed under a running Ditto."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import nats
import pytest

from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World


@pytest.fixture
def table(world: World) -> World:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    return world


async def change(world: World, **settings: Any) -> None:
    """As `nats stream edit` does: everything is sent back, with these settings."""
    async with world.jetstream() as jetstream:
        config = (await jetstream.stream_info(world.stream)).config
        await jetstream.update_stream(config.evolve(**settings))


@pytest.mark.parametrize("settings", [{"allow_batched": False}, {"allow_rollup_hdrs": False}], ids=str)
async def test_what_the_next_session_mends_is_not_final(table: World, settings: dict[str, bool]) -> None:
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    async with world.jetstream() as jetstream:
        info = await jetstream._api_request(f"$JS.API.STREAM.INFO.{world.stream}")
        config = info["config"] | settings
        await jetstream._api_request(f"$JS.API.STREAM.UPDATE.{world.stream}", json.dumps(config).encode())
    world.sql("INSERT INTO t VALUES (2)", "SELECT pg_logical_emit_message(false, 'ditto.wait', '')")
    assert [event.change[2] for event in await world.events()] == [1, 2]
    if "allow_rollup_hdrs" in settings:
        await ditto.logged("session.failed")  # a checkpoint is refused
        world.sql("INSERT INTO t VALUES (3)")
        await world.fence()
    await ditto.logged("session.failed")
    assert [entry["kind"] for entry in ditto.logs("session.failed")] == ["PublishRejected"]
    assert await ditto.stop() == 0


async def test_a_larger_max_payload_is_found_out(nats_world: World) -> None:
    world, server = nats_world, nats_world.nats_server
    world.sql("CREATE TABLE t (id int PRIMARY KEY, body text)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    file = server.folder / "nats.conf"
    file.write_text(file.read_text() + "\nmax_payload: 4MB\n")
    os.kill(server.pid, signal.SIGHUP)
    deadline = time.monotonic() + 20
    while await max_payload(server.url) != 4 << 20:
        assert time.monotonic() < deadline, "the server does not reload"
        await asyncio.sleep(0.05)
    world.sql("INSERT INTO t VALUES (2, repeat('x', 2000000))")
    assert [event.change[2] for event in await world.events()] == [1, 2]
    await ditto.logged("session.failed")
    assert [entry["kind"] for entry in ditto.logs("session.failed")] == ["EventTooLarge"]
    # What is too large for the new limit, too, is final.
    world.sql("INSERT INTO t VALUES (3, repeat('x', 5000000))")
    assert await ditto.ended() == 4
    assert "5000" in ditto.sentence()
    assert str(4 << 20) in ditto.sentence()


async def test_a_risk_that_is_new_is_said(table: World) -> None:
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    await change(world, max_age=3600.0)
    world.sql("CREATE TABLE late (id int PRIMARY KEY)", "INSERT INTO late VALUES (2)", "CREATE TABLE later (id int)")
    await ditto.logged("stream.risk")
    world.sql("INSERT INTO later VALUES (3)")
    assert [event.change[2] for event in await world.events()] == [1, 2, 3]
    assert ["max_age" in entry["reason"] for entry in ditto.logs("stream.risk")] == [True]
    assert await ditto.stop() == 0


async def test_retention_that_is_changed_just_before_the_end(table: World) -> None:
    """Without consumers the server deletes the last message at once: the next start is no gap."""
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    before = world.confirmed_lsn
    await change(world, retention="interest")
    world.sql("INSERT INTO t VALUES (2)")
    await eventually(lambda: world.confirmed_lsn > before, "it is stored")
    assert await ditto.stop() == 0
    assert (await world.info()).state.messages == 0
    await world.streaming()


async def max_payload(url: str) -> int:
    client = await nats.connect(url, allow_reconnect=False)
    try:
        return int(client.max_payload)
    finally:
        await client.close()


async def test_metadata_that_is_replaced_is_put_back(table: World) -> None:
    """A new table's subject is added all the same."""
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    ours = {name for name in (await world.info()).config.metadata or {} if name.startswith("ditto.")}
    await change(world, metadata={"team": "shop"})
    world.sql("CREATE TABLE late (id int PRIMARY KEY)", "INSERT INTO late VALUES (2)")
    assert [event.change[2] for event in await world.events()] == [1, 2]
    assert not ditto.logs("session.failed")
    assert (await ditto.logged("stream.metadata_restored"))["keys"] == sorted(ours)
    metadata = (await world.info()).config.metadata or {}
    assert ours | {"team"} <= metadata.keys()
    assert await ditto.stop() == 0
    await world.streaming()
