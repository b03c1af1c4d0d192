"""What PostgreSQL gets to know of the sink's progress, and when."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from ditto.errors import ConnectionLost, SinkLost
from ditto.monitoring.counters import Counters
from ditto.monitoring.session_counters import SessionCounters
from ditto.pipeline.confirmer import Confirmer
from ditto.pipeline.watermark import ConfirmDelay
from ditto.pipeline.window import Window
from ditto.tasks import end
from unit.fakes import FakeReplication, FakeSink, fake_time, now, settle


@dataclass
class Commits:
    """Whether PostgreSQL's commits wait for Ditto."""

    is_synchronous: bool = False
    is_unasked: bool = False


class Scene:
    """A confirmer between a server and a sink."""

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self.server, self.sink, self.counters, self.commits = FakeReplication(), FakeSink(), Counters(), Commits()
        self.window = Window(max_count=100, max_bytes=1000, ack_interval=lambda: 1, flush=self.sink.flush, clock=now)
        self.confirmer = Confirmer(
            self.server,
            synchronous=self.commits,
            delay=ConfirmDelay(delay_s, start_lsn=0),
            counters=SessionCounters(self.counters, self.server, clock=now),
            clock=now,
        )

    def send(self, count: int, commit_lsn: int) -> None:
        """A transaction of so many events."""
        self.window.add(count, count)
        self.confirmer.sent(self.window.sent, commit_lsn, commit_lsn + 8)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.confirmer.run(self.sink.acknowledged, self.window))
        yield task
        await end(task)


@fake_time
async def test_a_transaction_is_confirmed_when_all_of_it_is_durable() -> None:
    scene = Scene()
    async with scene.running():
        scene.send(3, 0x100)
        scene.sink.acknowledge(2)
        await asyncio.sleep(1)
        assert (scene.server.statuses, scene.confirmer.has_stored) == ([], False)
        scene.sink.acknowledge(3)
        await asyncio.sleep(1)
    assert [status[1:] for status in scene.server.statuses] == [(0x100, 0x108, False)]
    assert scene.confirmer.has_stored
    assert (scene.counters.stored, scene.counters.confirmed_lsn) == (3, 0x100)
    assert scene.window.outstanding_count == 0


@fake_time
async def test_one_status_for_the_acknowledgements_of_a_tenth_of_a_second() -> None:
    scene, began_at = Scene(), now()
    async with scene.running():
        for number in range(1, 9):
            scene.send(1, 0x100 * number)
            scene.sink.acknowledge(number)
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
    assert [(round(at - began_at, 2), lsn) for at, lsn, _, _ in scene.server.statuses] == [(0.1, 0x500), (0.2, 0x800)]


@fake_time
async def test_at_once_while_commits_wait() -> None:
    scene, began_at = Scene(), now()
    scene.commits.is_synchronous = True
    async with scene.running():
        scene.send(1, 0x100)
        scene.sink.acknowledge(1)
        await settle()
        assert scene.server.statuses == [(began_at, 0x100, 0x108, False)]


@fake_time
async def test_a_transaction_without_events_is_confirmed_with_what_is_before_it() -> None:
    scene = Scene()
    scene.confirmer.begin(0x50)
    async with scene.running():
        scene.send(0, 0x100)  # everything before it is durable already
        assert scene.server.confirmed == [0x50, 0x100]
        scene.send(1, 0x200)
        scene.send(0, 0x300)
        await asyncio.sleep(1)
        assert scene.server.confirmed == [0x50, 0x100]
        scene.sink.acknowledge(1)
        await asyncio.sleep(1)
        assert scene.server.confirmed == [0x50, 0x100, 0x300]


@fake_time
async def test_a_session_that_begins_behind_its_tail_confirms_the_tail() -> None:
    scene = Scene()
    scene.confirmer.begin(0x500)
    scene.send(0, 0x400)  # comes again
    assert scene.server.confirmed == [0x500]
    assert scene.confirmer.confirmed_lsn == 0x500
    assert not scene.confirmer.has_stored


@fake_time
async def test_no_more_is_confirmed_than_the_limit_allows() -> None:
    scene = Scene()
    scene.confirmer.limit_by(lambda lsn: min(lsn, 0x80))
    scene.confirmer.begin(0x100)
    scene.confirmer.confirm_without_delay()
    assert scene.server.confirmed == [0x80]


@fake_time
async def test_the_delay_holds_back_what_is_acknowledged() -> None:
    scene, began_at = Scene(delay_s=5.0), now()
    scene.confirmer.begin(0x100)
    assert (scene.confirmer.is_holding, scene.confirmer.confirmed_lsn) == (True, 0x100)
    while now() < began_at + 6:
        await asyncio.sleep(0.5)
        scene.confirmer.confirm()
    assert scene.server.confirmed == [0, 0x100]
    assert not scene.confirmer.is_holding
    first_at = next(at for at, lsn, _, _ in scene.server.statuses if lsn)
    assert first_at == began_at + 5


@fake_time
@pytest.mark.parametrize("is_unasked", [False, True])
async def test_commits_that_wait_unasked_do_not_wait_for_the_delay(is_unasked: bool) -> None:
    scene = Scene(delay_s=5.0)
    scene.commits.is_synchronous, scene.commits.is_unasked = True, is_unasked
    scene.confirmer.begin(0x100)
    assert scene.server.confirmed == [0x100 if is_unasked else 0]


@fake_time
async def test_a_fault_of_the_sink_ends_it_and_nothing_is_confirmed_any_more() -> None:
    scene = Scene()
    async with scene.running() as running:
        scene.send(1, 0x100)
        scene.sink.acknowledge(1)
        await settle()
        scene.sink.fail(SinkLost("gone"))
        with pytest.raises(SinkLost):
            await running
        await asyncio.sleep(1)
    assert scene.server.statuses == []


@fake_time
async def test_a_lost_server_is_found_out_by_the_task_that_reads() -> None:
    scene = Scene()
    scene.server.fault = ConnectionLost("gone")
    unexpected: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(context))
    async with scene.running() as running:
        scene.send(1, 0x100)
        scene.sink.acknowledge(1)
        await asyncio.sleep(1)
        assert not running.done()
    assert unexpected == []  # the timer has met the fault


@fake_time
@pytest.mark.parametrize(("wal_sender_timeout_s", "period_s"), [(60.0, 10.0), (6.0, 2.0), (math.inf, 10.0)])
async def test_a_quiet_session_keeps_its_walsender_alive(wal_sender_timeout_s: float, period_s: float) -> None:
    scene, began_at = Scene(), now()
    alive = asyncio.create_task(scene.confirmer.keep_alive(wal_sender_timeout_s=wal_sender_timeout_s))
    await asyncio.sleep(3 * period_s + 0.1)
    await end(alive)
    assert [at - began_at for at, *_ in scene.server.statuses] == [0, period_s, 2 * period_s, 3 * period_s]
    assert all(wants_reply for *_, wants_reply in scene.server.statuses)
