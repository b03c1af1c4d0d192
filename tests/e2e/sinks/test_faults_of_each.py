"""The faults that every sink with a server of its own has, and what is promised of all of them, on each.

What a sink has besides is in its own files.
"""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from e2e.kills import killed_at_random
from e2e.ledger import Ledger, matches_ledger
from e2e.process import POLL_S
from e2e.proxy import Proxy

if TYPE_CHECKING:
    from e2e.sinks.replayed_world import ReplayedWorld

LONG: Final = (pytest.mark.long, pytest.mark.timeout(900))
URLS: Final = {
    "redis": ("redis_url", "redis://127.0.0.1:{}", "port"),
    "rabbitmq": ("rabbitmq_url", "rabbitmq-stream://127.0.0.1:{}", "port"),
    "exchange": ("rabbitmq_url", "amqp://127.0.0.1:{}", "amqp_port"),
}
"""By sink, the key of its address, and which port of its server that has."""


@pytest.fixture
def world(request: pytest.FixtureRequest, sink: str) -> Any:
    """With the shared server of that sink: nobody may stop it."""
    return request.getfixturevalue(f"{sink}_world")


@pytest.fixture
def own_world(request: pytest.FixtureRequest, sink: str) -> Any:
    """With a server of its own, to be killed."""
    return request.getfixturevalue(f"own_{sink}_world")


def answer_within(sink: str, time: str) -> dict[str, str]:
    """The setting."""
    return {f"{URLS[sink][0].partition('_')[0]}_ack_timeout": time}


@pytest.mark.parametrize("kill_count", [2, pytest.param(20, marks=LONG)])
@pytest.mark.parametrize("sink", ["file", "redis", "kafka", "rabbitmq", "exchange"])
async def test_killed_at_random_moments(world: ReplayedWorld, kill_count: int) -> None:
    chance = random.Random(kill_count)
    ditto = await world.streaming()
    with Ledger(world, seed=kill_count) as ledger:
        ditto = await killed_at_random(
            world, ditto, lambda _: ledger.goes_on(chance.randint(5, 40)), count=kill_count, chance=chance
        )
    await matches_ledger(world)
    assert await ditto.stop() == 0


async def stored(world: ReplayedWorld) -> int:
    """How much of the transaction is: the number of the last change."""
    try:
        return (await world.tail()).ordinal
    except IndexError:  # nothing
        return 0


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("sink", "rows"), [("file", 100_000), ("redis", 50_000), ("kafka", 200_000), ("rabbitmq", 50_000)]
)
async def test_killed_in_the_middle_of_a_big_transaction(world: ReplayedWorld, rows: int) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming()
    world.sql(f"INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, {rows}) AS n")
    for point in (1, 10_000, 25_000):
        while await stored(world) < point:  # noqa: ASYNC110  of another process
            await asyncio.sleep(POLL_S)
        ditto.kill()
        assert world.confirmed_lsn <= (await world.tail()).commit_lsn
        assert point > 1 or await stored(world) < rows, "the first kill came too late to test anything"
        ditto = world.ditto()
    assert [event.change[2] for event in await world.events(timeout_s=60)] == list(range(1, rows + 1))


@pytest.mark.parametrize(("sink", "kill_count"), [("redis", 1), *(pytest.param(sink, 5, marks=LONG) for sink in URLS)])
async def test_the_server_is_killed(own_world: Any, kill_count: int) -> None:
    """Under load; the process alone: what it has written, the operating system still has."""
    world, chance = own_world, random.Random(kill_count)
    ditto = await world.streaming()
    with Ledger(world, seed=5, pause_s=0.02) as ledger:  # a server takes seconds to start: that is a lot to read back
        for number in range(1, kill_count + 1):
            await ledger.goes_on(chance.randint(20, 60))
            world.server.kill()
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(world.server.start)
            await ditto.streaming(count=number + 1, timeout_s=60)
    await matches_ledger(world)
    assert await ditto.stop() == 0


@pytest.mark.parametrize("sink", ["redis", "rabbitmq", pytest.param("exchange", marks=pytest.mark.long)])
async def test_the_server_hangs(world: Any, sink: str) -> None:
    ditto = await world.streaming(**answer_within(sink, "2s"))
    with Ledger(world, seed=7) as ledger:
        await ledger.goes_on(20)
        world.server.pause()
        failure = await ditto.logged("session.failed", kind="AckTimeout")
        assert "has not answered for 2 s" in failure["error"]
        world.server.resume()
        await ditto.streaming(count=2, timeout_s=60)
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert await ditto.stop() == 0


@pytest.mark.parametrize(
    ("sink", "count"), [("redis", 2), ("rabbitmq", 2), *(pytest.param(sink, 10, marks=LONG) for sink in URLS)]
)
async def test_the_connection_is_cut(world: Any, sink: str, count: int) -> None:
    chance = random.Random(3)
    key, url, port = URLS[sink]
    async with Proxy(getattr(world.server, port)) as proxy:
        ditto = await world.streaming(**{key: url.format(proxy.port)})
        with Ledger(world, seed=9) as ledger:
            for number in range(count):
                await ledger.goes_on(20)
                if number % 2:
                    proxy.cut()
                else:
                    proxy.cut_later(from_client=chance.randint(1, 20_000))
                await ditto.logged("session.failed", count=number + 1)
                await ditto.streaming(count=number + 2, timeout_s=60)
        await matches_ledger(world)
        assert await ditto.stop() == 0


@pytest.mark.parametrize("sink", ["redis", "rabbitmq", pytest.param("exchange", marks=pytest.mark.long)])
async def test_two_at_once_and_a_stale_one_that_thaws(world: Any) -> None:
    """The second works as soon as PostgreSQL has ended the first one's connection; what the first sends is not stored
    again.
    """
    first = await world.streaming()
    with Ledger(world, seed=11) as ledger:
        await ledger.goes_on(20)
        second = world.ditto()
        await second.logged("slot.standby")
        first.send(signal.SIGSTOP)
        await ledger.goes_on(20)  # what the first finds in its sockets when it goes on
        await world.ends_walsender()
        await second.streaming(timeout_s=60)
        await ledger.goes_on(20)
        first.send(signal.SIGCONT)
        await first.logged("session.failed")
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert await second.stop() == 0
