"""`ditto verify` where a server does not answer, or is a standby: it ends with a clear error, or works."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import nats
import pytest

from ditto.errors import AckTimeout, ConnectionLost
from ditto.lsn import parse_lsn
from ditto.source.sql import open_control
from ditto.testing.stream_replay import replay
from ditto.verify import compare, read_publication, table_keys
from e2e.process import eventually
from e2e.proxy import Proxy
from e2e.standby import make_standby

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.client import Client

    from e2e.world import World


async def filled(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    await world.streaming()
    world.sql("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
    await world.fence()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    client = await nats.connect(url, allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


async def test_a_nats_server_that_goes_silent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("ditto.sinks.jetstream.stream_batches"), "BATCH_TIMEOUT_S", 0.5)
    await filled(world)
    async with Proxy(world.nats_server.port) as proxy, connected(f"nats://127.0.0.1:{proxy.port}") as client:

        def on_progress(_done: int, _total: int) -> None:
            proxy.is_silent = True

        with pytest.raises(AckTimeout, match=f"cannot read stream {world.stream}: nats-server did not answer"):
            await replay(client, world.stream, keys={}, prefix=world.name, on_progress=on_progress)


async def test_a_postgresql_that_goes_silent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("ditto.verify.compare"), "SILENCE_S", 0.5)
    await filled(world)
    async with (
        connected(world.nats_server.url) as client,
        Proxy(world.postgres.port) as proxy,
        open_control(world.dsn_by(proxy.port)) as control,
    ):
        publication = await read_publication(control, world.name)
        keys = await table_keys(control, publication.tables)
        copy = await replay(client, world.stream, keys=keys, prefix=world.name)

        def on_progress(done: int, total: int) -> None:
            proxy.is_silent = 1000 < done < total

        with pytest.raises(ConnectionLost, match=r"cannot read table public\.t: no answer within 0\.5 s"):
            await compare(control, copy, publication=publication, on_progress=on_progress)


async def test_a_standby_can_be_compared(own_world: World, tmp_path: Path) -> None:
    world = own_world
    if world.major < 17:
        pytest.skip("make_standby keeps copies of failover slots, which 17 has first")
    await filled(world)
    with await asyncio.to_thread(make_standby, world, tmp_path / "standby") as standby:
        dsn = standby.dsn.removesuffix("/postgres") + f"/{world.name}"
        lsn = parse_lsn(world.value("SELECT pg_current_wal_lsn()::text"))

        def has_caught_up() -> bool:
            (row,) = world.sql("SELECT pg_last_wal_replay_lsn()::text", dsn=dsn)
            return parse_lsn(row[0]) >= lsn

        await eventually(has_caught_up, "the standby has replayed everything")
        async with connected(world.nats_server.url) as client, open_control(dsn) as control:
            publication = await read_publication(control, world.name)
            copy = await replay(client, world.stream, keys=await table_keys(control), prefix=world.name)
            result = await compare(control, copy, publication=publication)
    assert (result.differences, result.unjudged) == ([], [])
    assert result.rows > 20000
