"""`events.group` where several Dittos stand by, and where Ditto is the synchronous standby."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from ditto.formats.stored_groups import events_in
from ditto.lsn import Position
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually
from e2e.snapshots.test_state import be_synchronous
from e2e.values.test_groups import groups_of

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World

GROUPED: dict[str, Any] = {"events_group_max_events": "20", "delivery_lease_ttl": "2s"}
ENDS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)


def are_grouped(world: World) -> None:
    world.fence_subject = f"{world.name}.transactions"


def insert(world: World, first: int, count: int) -> None:
    """In one transaction, with its line in the ledger."""
    world.transaction(
        f"INSERT INTO t SELECT i, repeat('x', 400) FROM generate_series({first}, {first + count - 1}) AS i",
        f"INSERT INTO ledger VALUES (pg_current_xact_id()::text::bigint, {count})",
    )


def is_streaming(ditto: DittoProcess) -> bool:
    """By the last that it said about that."""
    told = {"pipeline.streaming", "session.failed", "slot.standby"}
    said = [entry["event"] for entry in ditto.logs() if entry["event"] in told]
    return said[-1:] == ["pipeline.streaming"]


async def replaced(active: DittoProcess, standby: DittoProcess, end: signal.Signals) -> None:
    """End the active one so, and wait until the other one streams. A frozen one thaws, and is too late."""
    active.send(end)
    await eventually(lambda: bool(standby.logs("pipeline.streaming")), "the standby streams", timeout_s=60)
    if end is signal.SIGSTOP:
        active.send(signal.SIGCONT)
        await active.logged("session.failed", timeout_s=60)
        active.kill()
    else:
        await active.ended()
    await eventually(lambda: is_streaming(standby), "the standby still streams, or again", timeout_s=60)


async def transactions_are_whole(world: World) -> None:
    """The groups of each transaction are numbered from 1, and the last one alone is marked."""
    found: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for headers, _ in await groups_of(world):
        lsn = Position.parse(headers["Ditto-Position"]).commit_lsn
        found[lsn].append((int(headers["Ditto-Group"]), "Ditto-Group-Last" in headers))
    assert found
    for groups in found.values():
        assert groups == [(number, number == len(groups)) for number in range(1, len(groups) + 1)]


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_a_standby_goes_on_in_the_middle_of_a_transaction(world: World, rounds: int) -> None:
    """Killed, frozen and stopped in turn, while transactions of many groups are stored."""
    are_grouped(world)
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    active = await world.streaming(**GROUPED)
    with Ledger(world, seed=rounds) as ledger:
        for number, end in enumerate((ENDS * rounds)[:rounds]):
            standby = world.ditto(**GROUPED)
            await standby.logged("slot.standby")
            insert(world, number * 5000, 5000)
            await ledger.goes_on(10)
            await replaced(active, standby, end)
            active = standby
    await matches_ledger(world)
    await transactions_are_whole(world)
    assert active.is_running


@pytest.mark.parametrize("rounds", [1, pytest.param(9, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_a_commit_returns_when_its_group_is_stored(postgres_world: World, rounds: int) -> None:
    """Also when another Ditto takes over meanwhile: the commits that wait go on."""
    world = postgres_world
    are_grouped(world)
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    active = await world.streaming(**GROUPED)
    ledger = Ledger(world, seed=1)
    await be_synchronous(world)
    async with world.jetstream() as jetstream:
        for number in range(10):
            await asyncio.to_thread(insert, world, number * 100, 70)
            last = await jetstream.get_last_msg(world.stream, world.fence_subject)
            headers: dict[str, Any] = dict(last.headers or {})
            ids = [json.loads(each)["data"]["id"] for each in events_in(last.data or b"")][:-1]
            assert ids == list(range(number * 100 + 60, number * 100 + 70))
            assert headers["Ditto-Group-Last"] == "true"
    with ledger:
        for end in (ENDS * rounds)[:rounds]:
            standby = world.ditto(**GROUPED)
            await standby.logged("slot.standby")
            await ledger.goes_on(20)
            await replaced(active, standby, end)
            active = standby
            await ledger.goes_on(20)
    await matches_ledger(world)
    await transactions_are_whole(world)
