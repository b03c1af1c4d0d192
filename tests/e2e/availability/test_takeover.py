"""Several Dittos on one slot: one streams, the others stand by, and one of them follows when it is gone."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from e2e.process import eventually
from e2e.proxy import Proxy
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World

SLOW_MACHINE = 3
"""What is promised is asserted with room for a machine that has other things to do."""


async def standby(world: World, **settings: object) -> DittoProcess:
    ditto = world.ditto(**settings)
    await ditto.logged("slot.standby")
    return ditto


async def taken_over(world: World, *standbys: DittoProcess, began_at: float) -> tuple[DittoProcess, float, float]:
    """Who has taken over, after how long it streamed, and after how long a new event was stored."""
    await eventually(
        lambda: any(each.logs("pipeline.streaming") for each in standbys), "a standby takes over", timeout_s=60
    )
    streaming_s = time.monotonic() - began_at
    await world.fence(timeout_s=60)
    stored_s = time.monotonic() - began_at
    print(f"takeover: streaming after {streaming_s:.2f} s, the next event stored after {stored_s:.2f} s")
    active = [each for each in standbys if each.logs("pipeline.streaming")]
    assert len(active) == 1
    return active[0], streaming_s, stored_s


@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
async def test_the_second_takes_over(world: World, end: signal.Signals) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    world.sql("INSERT INTO t SELECT generate_series(1, 50000)")
    await world.holds(1000)
    first.send(end)
    taken_at = time.monotonic()
    await second.streaming()
    assert time.monotonic() - taken_at < 2 * SLOW_MACHINE
    assert len(second.logs("slot.standby")) == 1, "it says so once"
    assert second.logs("slot.taken_over")
    world.sql("INSERT INTO t SELECT generate_series(50001, 50100)")
    assert [event.change[2] for event in await world.events()] == list(range(1, 50101))
    # What the first one had in its socket's buffer may be stored after the second has read the tail.
    failed = [entry["kind"] for entry in second.logs("session.failed")]
    assert failed in ([], ["ChainBroken"])
    third = world.ditto()
    await third.logged("slot.standby")
    assert await second.stop() == 0
    await third.streaming()
    assert await third.stop() == 0


async def test_a_stream_that_is_deleted_while_a_standby_waits_is_missed_at_every_start(world: World) -> None:
    """A standby that claimed a new one would let the next start believe that nothing is missing."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    first = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 100)")
    await world.fence()
    await world.confirms_tail()
    second = await standby(world)
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    first.kill()
    for ditto in (second, world.ditto()):
        assert await ditto.ended() == 4
        assert ditto.logs("run.failed", kind="StreamGap")


@pytest.mark.long
async def test_a_takeover_after_a_long_wait_stores_nothing_behind_the_tail(world: World) -> None:
    """A checkpoint is due at once then, and the slot stands before the tail: here far before, to be sure."""
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
        f"SELECT pg_copy_logical_replication_slot('{world.name}', '{world.name}_early')",
    )
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    due_at = time.monotonic() + 10.5
    world.sql(*(f"INSERT INTO t SELECT generate_series({row}, {row + 99})" for row in range(1, 40_000, 100)))
    await eventually(lambda: time.monotonic() > due_at, "a checkpoint is due")
    await world.fence()
    second.send(signal.SIGSTOP)
    first.kill()
    await world.slot_is_free()
    world.sql(
        f"SELECT pg_drop_replication_slot('{world.name}')",
        f"SELECT pg_copy_logical_replication_slot('{world.name}_early', '{world.name}')",
    )
    second.send(signal.SIGCONT)
    await second.streaming()
    await world.fence()
    second.kill()
    await world.streaming()
    assert [event.change[2] for event in await world.events()] == list(range(1, 40_001))


@pytest.mark.long
async def test_one_that_was_frozen_stores_nothing_when_it_thaws(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"ALTER DATABASE {world.name} SET wal_sender_timeout = '1s'")
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    world.sql("INSERT INTO t SELECT generate_series(1, 50000)")
    await world.holds(1000)
    first.send(signal.SIGSTOP)
    await second.streaming()
    world.sql("INSERT INTO t SELECT generate_series(50001, 50100)")
    await world.fence()
    first.send(signal.SIGCONT)
    await first.logged("session.failed")
    await first.logged("slot.standby")
    world.sql("INSERT INTO t SELECT generate_series(50101, 50200)")
    assert [event.change[2] for event in await world.events()] == list(range(1, 50201))
    assert first.is_running
    assert not second.logs("session.failed")


@pytest.mark.long
async def test_three_are_killed_one_after_another(world: World) -> None:
    active = await world.streaming()
    with Traffic(world, seed=7) as traffic:
        others = [await standby(world) for _ in range(3)]
        for _ in range(3):
            await world.fence()
            began_at = time.monotonic()
            active.kill()
            active, streaming_s, stored_s = await taken_over(world, *others, began_at=began_at)
            assert streaming_s < 2 * SLOW_MACHINE
            assert stored_s < 2 * SLOW_MACHINE
            others.remove(active)
            assert active.logs("slot.taken_over")
        assert traffic.committed_count > 100
    await world.fence()
    assert not active.logs("session.failed")
    await world.matches_tables()


async def test_a_frozen_one_is_replaced_and_fenced(world: World) -> None:
    """PostgreSQL would wait for it for ever: only the lease tells that it is gone."""
    world.sql(f"ALTER DATABASE {world.name} SET wal_sender_timeout = 0")
    first = await world.streaming(delivery_lease_ttl="2s")
    with Traffic(world, seed=8):
        second = await standby(world, delivery_lease_ttl="2s")
        await world.fence()
        began_at = time.monotonic()
        first.send(signal.SIGSTOP)
        await taken_over(world, second, began_at=began_at)
        ended = await second.logged("slot.holder_ended")
        assert 1.9 < ended["silent_s"] < 2 * SLOW_MACHINE
        first.send(signal.SIGCONT)
        assert (await first.logged("session.failed"))["kind"] in {"ConnectionLost", "SlotInUse", "ChainBroken"}
        await first.logged("slot.standby")
        await world.fence()
    await world.fence()
    assert len(first.logs("pipeline.streaming")) == 1
    assert not second.logs("session.failed")
    await world.matches_tables()
    # It has taken its place in the group again.
    second.kill()
    await first.streaming(count=2)
    await world.fence()
    await world.matches_tables()


@pytest.mark.parametrize("how", ["frozen", pytest.param("cut off", marks=pytest.mark.long)])
async def test_without_a_lease_a_takeover_follows_postgresql(world: World, how: str) -> None:
    """As with every sink that keeps no lease."""
    timeout_s = 3
    async with Proxy(world.postgres.port) as postgres, Proxy(world.nats_server.port) as nats:
        settings = {"delivery_lease_ttl": "0s"}
        world.sql(f"ALTER ROLE CURRENT_USER IN DATABASE {world.name} SET wal_sender_timeout = '{timeout_s}s'")
        first = await world.streaming(
            postgres_dsn=world.dsn_by(postgres.port), nats_url=f"nats://127.0.0.1:{nats.port}", **settings
        )
        with Traffic(world, seed=13):
            second = await standby(world, **settings)
            await world.fence()
            began_at = time.monotonic()
            if how == "frozen":
                first.send(signal.SIGSTOP)
            postgres.is_silent = nats.is_silent = how == "cut off"
            _, streaming_s, _ = await taken_over(world, second, began_at=began_at)
            assert streaming_s < timeout_s + 2 * SLOW_MACHINE
            assert not second.logs("slot.holder_ended"), "PostgreSQL has done it"
            if how == "frozen":
                first.send(signal.SIGCONT)
            postgres.is_silent = nats.is_silent = False
            postgres.cut()
            nats.cut()
            await first.logged("session.failed")
            await first.logged("slot.standby", timeout_s=60)
            await world.fence()
        await world.fence()
        assert len(first.logs("pipeline.streaming")) == 1, "what it still had was refused"
        assert not second.logs("session.failed")
        await world.matches_tables()


@pytest.mark.parametrize(
    "which", [pytest.param("postgres", marks=pytest.mark.long), pytest.param("nats", marks=pytest.mark.long), "both"]
)
async def test_one_that_is_cut_off_is_replaced(world: World, which: str) -> None:
    """No connection is closed: from one moment to the next nothing comes through."""
    world.sql(f"ALTER DATABASE {world.name} SET wal_sender_timeout = 0")
    async with Proxy(world.postgres.port) as postgres, Proxy(world.nats_server.port) as nats:
        cut = {"postgres": [postgres], "nats": [nats], "both": [postgres, nats]}[which]
        first = await world.streaming(
            postgres_dsn=world.dsn_by(postgres.port), nats_url=f"nats://127.0.0.1:{nats.port}", delivery_lease_ttl="2s"
        )
        with Traffic(world, seed=9):
            second = await standby(world, delivery_lease_ttl="2s")
            await world.fence()
            began_at = time.monotonic()
            for proxy in cut:
                proxy.is_silent = True
            await taken_over(world, second, began_at=began_at)
            for proxy in cut:
                proxy.is_silent = False
                proxy.cut()
            await first.logged("session.failed")
            await first.logged("slot.standby", timeout_s=40)
            await world.fence()
        await world.fence()
        assert not second.logs("session.failed")
        await world.matches_tables()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_frozen_for_longer_than_any_time_out(postgres_world: World) -> None:
    """With every time-out as it is by default."""
    world = postgres_world
    first = await world.streaming()
    with Traffic(world, seed=10, pause_s=0.01):
        second = await standby(world)
        await world.fence()
        began_at = time.monotonic()
        first.send(signal.SIGSTOP)
        _, streaming_s, _ = await taken_over(world, second, began_at=began_at)
        assert streaming_s < 15 + 2 * SLOW_MACHINE
        longest_s = 75  # wal_sender_timeout is 60
        await eventually(lambda: time.monotonic() > began_at + longest_s, "every time-out is over", timeout_s=100)
        first.send(signal.SIGCONT)
        await first.logged("session.failed")
        await first.logged("slot.standby", timeout_s=40)
        await world.fence()
    await world.fence()
    assert len(first.logs("pipeline.streaming")) == 1
    assert not second.logs("session.failed")
    await world.matches_tables()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", ["postgres", "nats", "both"])
@pytest.mark.parametrize("is_busy", [True, False])
async def test_a_network_cut_takes_fifteen_seconds_by_default(world: World, which: str, *, is_busy: bool) -> None:
    async with Proxy(world.postgres.port) as postgres, Proxy(world.nats_server.port) as nats:
        cut = {"postgres": [postgres], "nats": [nats], "both": [postgres, nats]}[which]
        first = await world.streaming(
            postgres_dsn=world.dsn_by(postgres.port), nats_url=f"nats://127.0.0.1:{nats.port}"
        )
        second = await standby(world)
        with Traffic(world, seed=11, pause_s=0.003 if is_busy else 60):
            await world.fence()
            began_at = time.monotonic()
            for proxy in cut:
                proxy.is_silent = True
            _, streaming_s, _ = await taken_over(world, second, began_at=began_at)
            assert streaming_s < 15 + 2 * SLOW_MACHINE
            for proxy in cut:
                proxy.is_silent = False
                proxy.cut()
            await first.logged("slot.standby", timeout_s=60)
        await world.fence()
        await world.matches_tables()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_twenty_times_killed_frozen_or_stopped(world: World) -> None:
    """A group of three that loses its active one again and again, in turn in every way."""
    group = [await world.streaming(delivery_lease_ttl="2s")]
    with Traffic(world, seed=12):
        group += [await standby(world, delivery_lease_ttl="2s") for _ in range(2)]
        for number in range(20):
            await world.fence(timeout_s=60)
            active = next(each for each in group if each.is_running and _is_active(each))
            group.remove(active)
            how = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)[number % 3]
            active.send(how)
            await eventually(lambda: any(_is_active(each) for each in group), "another one streams", timeout_s=60)
            if how is signal.SIGSTOP:
                before = _places(active)
                active.send(signal.SIGCONT)
                # It stands by; or it works again, where the other one has let go once more because of what came late.
                await eventually(partial(_has_moved, active, before), "it has found its place", timeout_s=60)
                group.append(active)
            else:
                code = await active.ended()
                assert code == (0 if how is signal.SIGTERM else -signal.SIGKILL)
                group.append(await standby(world, delivery_lease_ttl="2s"))
    await world.fence(timeout_s=60)
    await world.matches_tables()


def _places(ditto: DittoProcess) -> int:
    return len(ditto.logs("slot.standby")) + len(ditto.logs("pipeline.streaming"))


def _has_moved(ditto: DittoProcess, before: int) -> bool:
    return _places(ditto) > before


def _is_active(ditto: DittoProcess) -> bool:
    """The last that it said about its place in the group."""
    said = [entry["event"] for entry in ditto.logs() if entry["event"] in {"slot.standby", "pipeline.streaming"}]
    failed = [entry for entry in ditto.logs() if entry["event"] in {"pipeline.streaming", "session.failed"}]
    return bool(said) and said[-1] == "pipeline.streaming" and failed[-1]["event"] == "pipeline.streaming"
