"""One pipeline that ends its worker process: found by halves, the others go on together."""

from __future__ import annotations

import asyncio
import math

import pytest

from ditto.config import Log
from ditto.fleet.channel import Start
from ditto.fleet.suspects import STEADY_S, Suspects, halves
from ditto.fleet.workers import Run, Worker, WorkerGone, Workers

CULPRIT = "p123"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_halves_by_name() -> None:
    assert halves(["c", "a", "b"]) == (["a", "b"], ["c"])
    assert halves(["a"]) == (["a"], [])
    assert halves([]) == ([], [])


@pytest.mark.parametrize("count", [1, 2, 3, 17, 500])
def test_the_one_that_ends_its_worker_is_alone_after_some_deaths(count: int) -> None:
    clock = Clock()
    suspects = Suspects(clock)
    names = [f"p{number + 123}" for number in range(count)]
    groups = {name: suspects.begins(name) for name in names}
    deaths = 0
    while groups[CULPRIT] is None or list(groups.values()).count(groups[CULPRIT]) > 1:
        clock.now += 10
        together = [name for name in names if groups[name] == groups[CULPRIT]]
        suspects.died(together)
        groups |= {name: suspects.begins(name) for name in together}
        deaths += 1
    assert deaths <= 2 + math.ceil(math.log2(count))
    assert len(set(groups.values())) <= 1 + math.ceil(math.log2(count)), "so many workers are there in the end"


def test_who_was_in_one_of_the_dead_workers_only_stays_in_a_shared_one() -> None:
    suspects = Suspects(Clock())
    for name in ("a", "b", "c"):
        suspects.begins(name)
    suspects.died(["a", "b"])
    suspects.died(["b", "c"])
    assert [suspects.begins(name) is None for name in ("a", "b", "c")] == [True, False, True]


@pytest.mark.parametrize("by_death", [True, False])
def test_after_a_long_run_it_is_no_suspect_any_more(by_death: bool) -> None:
    clock = Clock()
    suspects = Suspects(clock)
    for _ in range(2):
        suspects.begins("a")
        suspects.died(["a"])
    assert suspects.begins("a") is not None
    suspects.ended("a")
    assert suspects.begins("a") is not None, "a short run says nothing"
    clock.now += STEADY_S + 1
    if by_death:
        suspects.died(["a"])
    else:
        suspects.ended("a")
    clock.now += 10 * STEADY_S
    assert suspects.begins("a") is None
    suspects.died(["a"])
    assert (suspects.begins("a") is None) is not by_death


async def test_real_worker_processes() -> None:
    """Eight pipelines in one shared worker; the process that runs one of them is killed again and again."""
    names = [f"p{number}" for number in range(8)]
    document = {
        "postgres": {"dsn": "postgres://127.0.0.1:9/shop", "slot": "shop"},
        "nats": {"url": "nats://127.0.0.1:9", "stream": "SHOP"},
    }
    workers = Workers("n1", Log(), count=1)
    homes: dict[str, tuple[Worker, Run]] = {}

    async def start(name: str) -> None:
        homes[name] = await workers.start(Start(name, document, 1, 0), is_isolated=False)

    try:
        await asyncio.gather(*map(start, names))
        assert len(list(workers)) == 1
        for _ in range(5):
            worker, _ = homes["p5"]
            lost = sorted(worker.runs)
            worker.kill()
            for name in lost:
                async with asyncio.timeout(60):
                    with pytest.raises(WorkerGone):
                        await asyncio.shield(homes[name][1])
                workers.release(worker, name)
            await asyncio.gather(*map(start, lost))
        assert sorted(homes["p5"][0].runs) == ["p5"]
        assert sorted(sorted(each.runs) for each in workers) == [["p0", "p1", "p2", "p3"], ["p4"], ["p5"], ["p6", "p7"]]
    finally:
        workers.kill()
        await workers.close()
