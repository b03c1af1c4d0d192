"""The lease in the key-value bucket: what stands in it, and that it never decides anything by itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from nats.js.api import StreamConfig
from nats.js.errors import BucketNotFoundError, KeyNotFoundError

from ditto.pipeline.lease import Terms, read_terms
from ditto.source.replication import Replication
from ditto.testing.servers import NatsServer
from e2e.proxy import Proxy
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.process import DittoProcess
    from e2e.world import World

BUCKET = "ditto_leases"


async def lease(world: World) -> tuple[int, Terms] | None:
    """Revision and terms, read as any NATS client would."""
    async with world.jetstream() as jetstream:
        try:
            bucket = await jetstream.key_value(BUCKET)
            entry = await bucket.get(f"{world.stream}.{world.name}")
        except (BucketNotFoundError, KeyNotFoundError):
            return None
    terms = read_terms(entry.value or b"")
    assert terms is not None
    assert entry.revision is not None
    return entry.revision, terms


async def leased(world: World, *, after: int = 0, timeout_s: float = 20) -> tuple[int, Terms]:
    """The lease of the slot's holder, once it has a later revision than that."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = await lease(world)
        if found is not None and found[0] > after and found[1].walsender_pid == walsender(world):
            return found
        assert time.monotonic() < deadline, f"{found} is not the holder's within {timeout_s:g} s"
        await asyncio.sleep(0.05)


def walsender(world: World) -> int | None:
    pid: int | None = world.value(f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{world.name}'")
    return pid


async def standby(world: World, **settings: object) -> DittoProcess:
    ditto = world.ditto(**settings)
    await ditto.logged("slot.standby")
    return ditto


async def held_for(ditto: DittoProcess, world: World, seconds: float) -> None:
    """The same walsender holds the slot all that time, and nothing goes wrong."""
    pid = walsender(world)
    began_at = time.monotonic()
    while time.monotonic() - began_at < seconds:
        assert walsender(world) == pid
        assert not ditto.logs("session.failed")
        await asyncio.sleep(0.1)


async def test_the_holder_writes_it_renews_it_and_removes_it(world: World) -> None:
    first = await world.streaming(delivery_lease_ttl="1500ms")
    revision, terms = await leased(world)
    assert terms.host == socket.gethostname()
    assert terms.ttl_s == 1.5
    began_at = time.monotonic()
    renewed, same = await leased(world, after=revision)
    assert same == terms
    assert time.monotonic() - began_at < 3
    second = await standby(world, delivery_lease_ttl="1500ms")
    assert await first.stop() == 0
    await second.streaming()
    _, successor = await leased(world, after=renewed)
    assert successor.run_id != terms.run_id
    assert await second.stop() == 0
    assert await lease(world) is None
    assert not first.logs("lease.unavailable")


async def test_the_bucket_is_as_a_bucket_should_be(world: World) -> None:
    await world.streaming()
    await leased(world)
    async with world.jetstream() as jetstream:
        config = (await jetstream.stream_info(f"KV_{BUCKET}")).config
    assert config.subjects == [f"$KV.{BUCKET}.>"]
    assert config.max_msgs_per_subject == 1
    assert config.allow_rollup_hdrs
    assert config.num_replicas == 1


async def test_without_a_lease_nothing_is_written_and_nobody_is_ended(world: World) -> None:
    first = await world.streaming(delivery_lease_ttl="0s")
    second = await standby(world, delivery_lease_ttl="0s")
    async with world.jetstream() as jetstream:
        keys = [key async for key in _keys(jetstream)]
    assert f"{world.stream}.{world.name}" not in keys
    first.kill()
    await second.streaming()


async def _keys(jetstream: Any) -> Any:
    try:
        info = await jetstream.stream_info(f"KV_{BUCKET}", subjects_filter=">")
    except Exception:  # noqa: BLE001  there is no bucket
        return
    for subject in info.state.subjects or {}:
        yield subject.removeprefix(f"$KV.{BUCKET}.")


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_published", [True, False])
async def test_a_busy_holder_is_left_alone(world: World, *, is_published: bool) -> None:
    """For longer than the time to live; once the stream moves, once PostgreSQL decodes for nothing."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)", "CREATE TABLE u (id int PRIMARY KEY)")
    tables = {"t": ["insert"], "u": ["insert"], "fence": ["insert"]} if is_published else {"fence": ["insert"]}
    settings: dict[str, object] = {"delivery_lease_ttl": "2s", "events_tables": tables}
    first = await world.streaming(**settings)
    second = await standby(world, **settings)
    pid = walsender(world)
    rows = 500_000 if is_published else 2_000_000
    world.sql(f"INSERT INTO t SELECT n, 'x' FROM generate_series(1, {rows}) AS n")
    began_at = time.monotonic()
    await world.fence(timeout_s=200)
    assert time.monotonic() - began_at > 2, "it was not busy for long enough to test anything"
    assert walsender(world) == pid
    assert not first.logs("session.failed")
    assert not second.logs("slot.holder_ended")
    assert (await world.info()).state.last_seq > (rows if is_published else 0)


@pytest.mark.long
async def test_a_reader_without_a_lease_is_never_ended(world: World) -> None:
    """Somebody else's connection, and a lease that a dead Ditto has left behind."""
    ditto = await world.streaming(delivery_lease_ttl="1s")
    _, left = await leased(world)
    ditto.kill()
    await world.slot_is_free()
    reader = Replication(world.dsn, clock=time.monotonic, max_events=1, max_bytes=1)
    await reader.connect()
    try:
        await reader.start(world.name, world.name)
        assert walsender(world) != left.walsender_pid
        second = await standby(world, delivery_lease_ttl="1s")
        await held_for(second, world, 3)
        assert not second.logs("slot.holder_ended")
    finally:
        await reader.close()
    await second.streaming()
    await leased(world)


@pytest.mark.long
async def test_a_lease_that_cannot_be_renewed_is_no_reason_to_change_places_for_ever(world: World) -> None:
    """The server refuses the bucket's messages, and both Dittos are well: one needless takeover at most."""
    first = await world.streaming(delivery_lease_ttl="1s")
    second = await standby(world, delivery_lease_ttl="1s")
    await leased(world)
    async with world.jetstream() as jetstream:
        before = (await jetstream.stream_info(f"KV_{BUCKET}")).config
        await jetstream.update_stream(_with(before, max_msg_size=1))
        try:
            await first.logged("lease.unavailable")
            await second.logged("slot.holder_ended")
            await first.logged("session.failed")
            await world.fence()  # whoever of the two was quicker
            await held_for(second, world, 3)
            assert len(first.logs("slot.holder_ended") + second.logs("slot.holder_ended")) == 1
        finally:
            await jetstream.update_stream(_with(before, max_msg_size=-1))
    await leased(world)
    await world.fence()
    await world.matches_tables()


def _with(config: StreamConfig, **changes: Any) -> StreamConfig:
    return config.evolve(**changes)


@pytest.mark.parametrize(
    ("denied", "asked_first"),
    [
        pytest.param(["$KV.>"], f"$KV.{BUCKET}.", id="writing"),
        pytest.param(
            ["$KV.>", f"$JS.API.STREAM.CREATE.KV_{BUCKET}", f"$JS.API.STREAM.MSG.GET.KV_{BUCKET}"],
            f"$JS.API.STREAM.MSG.GET.KV_{BUCKET}",
            id="reading too",
            marks=pytest.mark.long,
        ),
    ],
)
async def test_a_user_without_rights_for_the_bucket(
    world: World, tmp_path: Path, denied: list[str], asked_first: str
) -> None:
    permissions = {"publish": {"deny": denied}}
    config = f'authorization {{ users: [{{ user: u, password: "p", permissions: {json.dumps(permissions)} }}] }}'
    with NatsServer(tmp_path / "limited", config=config) as server:
        settings: dict[str, object] = {
            "nats_url": server.url,
            "nats_user": "u",
            "nats_password": "p",
            "delivery_lease_ttl": "1s",
        }
        first = await world.streaming(**settings)
        refusal = await first.logged("lease.unavailable")
        assert f"user u may not publish to {asked_first}" in refusal["reason"]
        assert "add it to the user's permissions (publish)" in refusal["hint"]
        second = await standby(world, **settings)
        await held_for(first, world, 3)
        assert len(first.logs("lease.unavailable")) == 1, "it says so once"
        first.kill()
        await second.streaming()
        assert second.is_running


async def test_nats_create_false_and_no_bucket(nats_world: World) -> None:
    world = nats_world
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=[f"{world.name}.>", f"{world.name}_public_fence"])
    ditto = await world.streaming(nats_create=False, delivery_lease_ttl="1s")
    refusal = await ditto.logged("lease.unavailable")
    assert f"kv add {BUCKET}" in refusal["hint"]
    await held_for(ditto, world, 2)
    assert len(ditto.logs("lease.unavailable")) == 1, "it says so once"
    async with world.jetstream() as jetstream:
        await jetstream.create_key_value(bucket=BUCKET)
    await leased(world)


@pytest.mark.long
async def test_a_standby_that_may_not_end_the_walsender(world: World) -> None:
    """It says what to grant, and acts as soon as it may."""
    for role in ("works", "waits"):
        world.sql(f"CREATE ROLE {world.name}_{role} LOGIN REPLICATION")
    world.sql(
        f"ALTER DATABASE {world.name} SET wal_sender_timeout = 0",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
    )
    works, waits = (world.dsn.replace("postgres@", f"{world.name}_{role}@") for role in ("works", "waits"))
    first = await world.streaming(postgres_dsn=works, delivery_lease_ttl="1s")
    second = await standby(world, postgres_dsn=waits, delivery_lease_ttl="1s")
    await leased(world)
    first.send(signal.SIGSTOP)
    try:
        refusal = await second.logged("slot.holder_not_ended")
        assert "pg_signal_backend" in refusal["hint"]
        await held_for(second, world, 2)
        assert len(second.logs("slot.holder_not_ended")) == 1, "it says so once"
        world.sql(f"GRANT pg_signal_backend TO {world.name}_waits")
        await second.streaming()
    finally:
        first.send(signal.SIGCONT)
    await first.logged("slot.standby")
    await world.fence()
    await world.matches_tables()


@pytest.mark.long
async def test_nats_hangs_for_all(nats_world: World) -> None:
    """For less than the time to live nothing happens; after a longer time the stream is as it should be."""
    world = nats_world
    settings: dict[str, object] = {"delivery_lease_ttl": "3s", "nats_ack_timeout": "60s"}
    first = await world.streaming(**settings)
    with Traffic(world, seed=21):
        second = await standby(world, **settings)
        await leased(world)
        world.nats_server.pause()
        await held_for(first, world, 1.5)
        world.nats_server.resume()
        await held_for(first, world, 3)
        assert not second.logs("slot.holder_ended")
    await world.fence()
    world.nats_server.pause()
    failure = await first.logged("session.failed")
    assert failure["kind"] == "AckTimeout"
    assert "delivery.lease_ttl" in failure["error"]
    world.nats_server.resume()
    await world.fence(timeout_s=60)
    assert not second.logs("slot.holder_ended")
    await world.matches_tables()


@pytest.mark.long
async def test_nats_restarts_under_a_group(nats_world: World) -> None:
    world = nats_world
    first = await world.streaming(delivery_lease_ttl="2s")
    with Traffic(world, seed=22):
        second = await standby(world, delivery_lease_ttl="2s")
        for _ in range(2):
            await leased(world)
            await asyncio.to_thread(world.nats_server.kill)
            await asyncio.to_thread(world.nats_server.start)
            await world.fence(timeout_s=60)
            revision, _ = await leased(world)
            await leased(world, after=revision)
    await world.fence(timeout_s=60)
    assert not first.logs("slot.holder_ended")
    assert not second.logs("slot.holder_ended")
    await world.matches_tables()


async def test_what_it_left_behind_itself_is_ended_at_once(world: World) -> None:
    """PostgreSQL has not heard that the connection is gone: without the lease it would take wal_sender_timeout."""
    world.sql(f"ALTER DATABASE {world.name} SET wal_sender_timeout = 0")
    async with Proxy(world.postgres.port) as postgres, Proxy(world.nats_server.port) as nats:
        ditto = await world.streaming(
            postgres_dsn=world.dsn_by(postgres.port), nats_url=f"nats://127.0.0.1:{nats.port}"
        )
        _, terms = await leased(world)
        postgres.freeze()
        nats.cut()
        await ditto.logged("session.failed")
        await ditto.streaming(count=2, timeout_s=60)
        (ended,) = ditto.logs("slot.holder_ended")
        assert ended["walsender_pid"] == terms.walsender_pid
        assert ended["silent_s"] < 10, "it waited for the time to live"
        await world.fence()
        await world.matches_tables()


async def test_a_revision_that_somebody_else_wrote_ends_nothing(world: World) -> None:
    """PostgreSQL says who holds the slot; whoever wrote into the bucket meanwhile is overwritten."""
    first = await world.streaming(delivery_lease_ttl="1s")
    revision, terms = await leased(world)
    async with world.jetstream() as jetstream:
        bucket = await jetstream.key_value(BUCKET)
        forged = await bucket.put(f"{world.stream}.{world.name}", os.urandom(20))
    assert forged > revision
    deadline = time.monotonic() + 20
    async with world.jetstream() as jetstream:
        bucket = await jetstream.key_value(BUCKET)
        while read_terms((await bucket.get(f"{world.stream}.{world.name}")).value or b"") != terms:
            assert time.monotonic() < deadline, "the holder has not overwritten it"
            await asyncio.sleep(0.05)
    assert not first.logs("session.failed")
