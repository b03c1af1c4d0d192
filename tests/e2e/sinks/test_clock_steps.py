"""The wall clock of a sink's server and of Ditto steps forward and back an hour: nothing is lost, and nothing twice."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import pytest

from e2e.faults.test_clock import HOUR_S, Clock, clock
from e2e.ledger import Ledger, matches_ledger

if TYPE_CHECKING:
    from ditto.testing.servers import PostgresServer
    from e2e.sinks.replayed_world import ReplayedWorld

__all__ = ["clock"]
SINKS: Final = ["own_redis_world", "own_kafka_world", "own_rabbitmq_world", "own_exchange_world", "file_world"]


@pytest.fixture
def shifted(
    request: pytest.FixtureRequest,
    shared_postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
    name: str,
) -> ReplayedWorld:
    """With a server of its own, which lives by `clock` as Ditto does; PostgreSQL does not."""
    del shared_postgres  # it has started by now
    for variable, value in clock.environment.items():
        monkeypatch.setenv(variable, value)
    world: ReplayedWorld = request.getfixturevalue(name)
    world.settings.update(clock.environment)
    return world


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="the clock is shifted through LD_PRELOAD")
@pytest.mark.parametrize("name", SINKS)
async def test_the_clock_steps(shifted: ReplayedWorld, clock: Clock) -> None:
    world = shifted
    ditto = await world.streaming()
    with Ledger(world, seed=25, pause_s=0.05) as ledger:
        for shift_s in (HOUR_S, 0, -HOUR_S, 0):
            clock.step_to(shift_s)
            await ledger.goes_on(30)
            await world.catches_up()
        ditto.kill()
        clock.step_to(-HOUR_S)
        ditto = await world.streaming()
        await ledger.goes_on(30)
    await matches_ledger(world)
    assert await ditto.stop() == 0
