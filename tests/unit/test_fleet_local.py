"""One pipeline on a node: lease, worker, failure, handing over, without the control plane too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from ditto.errors import ControlPlaneLost
from ditto.fleet.channel import Reload, Start, Stop
from ditto.fleet.leases import Leases, Taken
from ditto.fleet.local import LocalPipeline
from ditto.fleet.records import Failure, Record, Stored
from ditto.fleet.requests import Fault
from ditto.fleet.workers import Run, WorkerGone, Workers
from unit.fakes import fake_time

if TYPE_CHECKING:
    from collections.abc import Callable

BASE: dict[str, Any] = {"postgres": {"slot": "shop"}}


class FakeLeases:
    """Of a control plane that can be away, and of another node that can have the lease."""

    def __init__(self) -> None:
        self.is_away = False
        self.is_anothers = False
        self.has_lost = False
        self.is_deleted = False
        self.is_full = False
        self.taken = 0
        self.on_renew: Callable[[], None] = lambda: None
        self.freed: list[Failure | None] = []

    async def take(self, _pipeline: str) -> Taken | None:
        if self.is_away:
            raise ControlPlaneLost("away")
        self.taken += 1
        self.is_deleted = False
        return None if self.is_anothers else Taken(1, from_dead=True)

    async def renew(self, _pipeline: str, taken: Taken) -> Taken:
        self.on_renew()
        if self.is_away or self.is_full:
            raise ControlPlaneLost("full" if self.is_full else "away")
        return taken

    def is_held_elsewhere(self, _pipeline: str) -> bool:
        return self.is_anothers

    def is_lost(self, _pipeline: str, _taken: Taken) -> bool:
        return self.has_lost

    def is_gone(self, _pipeline: str, _taken: Taken) -> bool:
        return self.is_deleted

    async def free(self, _pipeline: str, _taken: Taken, *, failure: Failure | None = None) -> None:
        if self.is_away:
            raise ControlPlaneLost("away")
        self.freed.append(failure)


class FakeWorkers:
    """Both the pool and its only worker."""

    def __init__(self) -> None:
        self.started: list[tuple[Start, bool]] = []
        self.told: list[Stop | Reload] = []
        self.run: Run
        self.on_stop: Callable[[], None] = lambda: None

    async def start(self, message: Start, *, is_isolated: bool) -> tuple[FakeWorkers, Run]:
        self.started.append((message, is_isolated))
        self.run = asyncio.get_running_loop().create_future()
        return self, self.run

    def tell(self, message: Stop | Reload) -> None:
        self.told.append(message)
        if isinstance(message, Stop):
            self.on_stop()
            self.run.set_result(None)

    def release(self, _worker: object, _pipeline: str) -> None:
        pass


class Scene:
    def __init__(self) -> None:
        self.leases, self.workers = FakeLeases(), FakeWorkers()
        self.refused: list[tuple[int, str]] = []
        self.local = LocalPipeline(
            "shop",
            node="n1",
            leases=cast("Leases", self.leases),
            workers=cast("Workers", self.workers),
            connected=self._connected,
            is_closing=lambda: False,
            refuse=lambda stored, fault: self.refused.append((stored.revision, fault.message)),
        )
        self.local.set(stored(1))
        self.task = asyncio.create_task(self.local.run())

    async def _connected(self) -> None:
        """Where it is away, no test waits here for its return."""
        if self.leases.is_away:
            await asyncio.Event().wait()


def stored(revision: int, document: dict[str, Any] | None = None, attempt: int = 0) -> Stored:
    return Stored("shop", revision, Record(document=document or BASE, attempt=attempt))


@fake_time
async def test_it_runs_until_it_is_not_wanted_here() -> None:
    scene = Scene()
    await asyncio.sleep(1)
    ((start, is_isolated),) = scene.workers.started
    assert (start.name, start.revision, start.suspects_holder, is_isolated) == ("shop", 1, True, False)
    scene.local.set(stored(2, {**BASE, "events": {"tables": {"a": ["insert"]}}}))
    await asyncio.sleep(1)
    (reload,) = scene.workers.told
    assert isinstance(reload, Reload)
    assert reload.revision == 2
    scene.local.set(stored(3, {**BASE, "delivery": {"max_in_flight": 7}}))
    await asyncio.sleep(1)
    assert [each.revision for each, _ in scene.workers.started] == [1, 3]
    assert not scene.workers.started[1][0].suspects_holder
    scene.local.set(stored(4, attempt=1))
    await asyncio.sleep(1)
    assert scene.workers.started[2][0].attempt == 1
    scene.local.set(None)
    await scene.task
    assert scene.leases.freed == [None]


@fake_time
async def test_an_error_is_kept_in_the_lease() -> None:
    scene = Scene()
    await asyncio.sleep(1)
    scene.workers.run.set_result(Fault("SlotMissing", "no slot", "make one", 3))
    await scene.task
    (failure,) = scene.leases.freed
    assert failure is not None
    assert (failure.kind, failure.message, failure.hint, failure.code, failure.revision, failure.node) == (
        "SlotMissing", "no slot", "make one", 3, 1, "n1",
    )  # fmt: skip
    assert scene.refused == []


@fake_time
async def test_an_error_of_this_node_frees_the_lease_for_another_one() -> None:
    scene = Scene()
    await asyncio.sleep(1)
    scene.workers.run.set_result(Fault("MissingHere", "no such file", None, 2, is_local=True))
    await scene.task
    assert scene.leases.freed == [None]
    assert scene.refused == [(1, "no such file")]


@fake_time
async def test_after_the_death_of_its_worker_it_begins_again() -> None:
    scene = Scene()
    for _ in range(3):
        await asyncio.sleep(20)
        scene.workers.run.set_exception(WorkerGone())
    await asyncio.sleep(20)
    assert [is_isolated for _, is_isolated in scene.workers.started] == [False] * 4
    scene.local.set(None)
    await scene.task


@fake_time
async def test_a_lease_of_another_node_is_waited_for_and_one_that_is_lost_is_not_freed() -> None:
    scene = Scene()
    scene.leases.is_anothers = True
    await asyncio.sleep(5)
    assert not scene.workers.started
    assert scene.leases.taken == 0, "the control plane is not asked for what is known"
    scene.leases.is_anothers = False
    scene.local.set(stored(1))
    await asyncio.sleep(0.01)
    assert len(scene.workers.started) == 1, "it is taken at once when it is free"
    scene.leases.has_lost = True
    scene.local.set(None)
    await scene.task
    assert scene.leases.freed == []


@fake_time
@pytest.mark.parametrize("why", ["is_away", "is_full"])
async def test_what_cannot_be_handed_over_goes_on_without_an_interruption(why: str) -> None:
    scene = Scene()
    await asyncio.sleep(1)
    setattr(scene.leases, why, True)
    for _ in range(3):
        scene.local.set(None, is_handed_over=True)
        await asyncio.sleep(1)
    assert (len(scene.workers.started), scene.workers.told) == (1, [])
    setattr(scene.leases, why, False)
    scene.local.set(None, is_handed_over=True)
    await scene.task
    assert scene.leases.freed == [None]


@fake_time
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("is_wanted", [False, True])
async def test_what_changes_while_it_is_about_to_be_handed_over(is_full: bool, is_wanted: bool) -> None:
    """It is wanted here again, or paused: then it ends, whether or not another node could have it."""
    scene = Scene()
    await asyncio.sleep(1)
    scene.leases.is_full = is_full
    scene.leases.on_renew = lambda: scene.local.set(stored(1) if is_wanted else None)
    scene.local.set(None, is_handed_over=True)
    await asyncio.sleep(1)
    assert (len(scene.workers.started), len(scene.workers.told)) == (1, 0 if is_wanted else 1)
    scene.local.set(None)
    await scene.task
    assert scene.leases.freed == [None]


@fake_time
async def test_what_has_ended_and_cannot_be_freed_goes_on() -> None:
    scene = Scene()
    await asyncio.sleep(1)
    scene.workers.on_stop = lambda: setattr(scene.leases, "is_away", True)
    scene.local.set(None, is_handed_over=True)
    await asyncio.sleep(10)
    assert len(scene.workers.started) == 2, "the control plane was lost in between: nobody else can run it"
    scene.leases.is_away, scene.workers.on_stop = False, lambda: None
    scene.local.set(None, is_handed_over=True)
    await scene.task
    assert scene.leases.freed == [None]


@fake_time
async def test_what_is_paused_does_not_go_on() -> None:
    scene = Scene()
    await asyncio.sleep(1)
    scene.leases.is_away = True
    scene.local.set(None)
    await asyncio.sleep(10)
    assert len(scene.workers.started) == 1
    scene.leases.is_away = False
    await scene.task
    assert scene.leases.freed == [None]


@fake_time
async def test_a_lease_that_was_deleted_is_taken_again_while_the_pipeline_goes_on() -> None:
    scene = Scene()
    await asyncio.sleep(1)
    scene.leases.is_deleted = True
    scene.local.set(stored(1))
    await asyncio.sleep(1)
    assert (scene.leases.taken, scene.leases.is_deleted, scene.workers.told) == (2, False, [])
    scene.local.set(None)
    await scene.task
    assert scene.leases.freed == [None]


@fake_time
async def test_an_unexpected_error_fails_the_pipeline_and_is_not_tried_for_ever() -> None:
    scene = Scene()
    await asyncio.sleep(1)
    scene.workers.run.set_exception(KeyError("hunter2"))
    await scene.task
    (failure,) = scene.leases.freed
    assert failure is not None
    assert (failure.kind, failure.code) == ("PipelineCrashed", 1)
    assert "KeyError" in failure.message
    assert "hunter2" not in failure.message
