"""The machine's clock steps forward and back an hour: nothing of Ditto's depends on it."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ditto.testing.servers import NatsServer, PostgresServer
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually
from e2e.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clock is shifted through LD_PRELOAD")

HOUR_S = 3600
ENOUGH = 60


class Clock:
    """The wall clock of processes that were started with `environment`."""

    def __init__(self, folder: Path) -> None:
        library, self._file = folder / "clock_shim.so", folder / "shift"
        source = Path(__file__).parents[1] / "clock_shim.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._file)}
        self.step_to(0)

    def step_to(self, seconds: int) -> None:
        """So much ahead of the right time, in all these processes at once."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


@pytest.fixture
def clock() -> Iterator[Clock]:
    # PostgreSQL may run as somebody who cannot enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="ditto-clock-", dir="/tmp"))
    folder.chmod(0o755)
    yield Clock(folder)
    shutil.rmtree(folder)


@pytest.fixture
def shifted(clock: Clock, shared_nats: NatsServer, tmp_path: Path) -> Iterator[World]:
    """PostgreSQL and all Dittos live by `clock`."""
    server = PostgresServer(tmp_path / "postgres", settings={"fsync": "off"})
    server.environment = clock.environment
    with server, ExitStack() as stack:
        world = World(server, shared_nats, name=f"clock{time.monotonic_ns()}", folder=tmp_path)
        world.settings.update(clock.environment)
        stack.callback(world.close)
        yield world


def has_passed(deadline: float) -> bool:
    return time.monotonic() > deadline


async def some(ledger: Ledger) -> None:
    before = ledger.committed_count
    await eventually(lambda: ledger.committed_count >= before + ENOUGH, "the workload goes on", timeout_s=60)


@pytest.mark.long
async def test_the_clock_steps_while_events_stream(shifted: World, clock: Clock) -> None:
    world = shifted
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    with Ledger(world, writer_count=1) as ledger:
        for number, shift in enumerate((0, HOUR_S, 0, -HOUR_S, 0)):
            clock.step_to(shift)
            await some(ledger)
            await world.fence()
            # By PostgreSQL's own clock, whatever that says.
            world.transaction(
                f"INSERT INTO t VALUES ({number})",
                "INSERT INTO ledger VALUES (pg_current_xact_id()::text::bigint, 1)",
            )
            now: datetime = world.value("SELECT clock_timestamp()")
            assert abs(now.timestamp() - time.time() - shift) < 60, "the clock is shifted"
            await world.fence()
            [event] = [each.event for each in await world.messages() if each.event.get("data") == {"id": number}]
            committed = datetime.fromisoformat(event["commitTime"])
            assert abs(committed - now) < timedelta(seconds=60)
    await matches_ledger(world)
    # PostgreSQL measures wal_sender_timeout with the wall clock, and may end the connection: that is all that may be.
    assert {entry["kind"] for entry in ditto.logs("session.failed")} <= {"ConnectionLost"}
    assert await ditto.stop() == 0
    confirmed = world.confirmed_lsn
    assert confirmed <= (await world.tail()).commit_lsn


@pytest.mark.long
async def test_the_clock_steps_while_another_stands_by(shifted: World, clock: Clock) -> None:
    """The standby does not take a step for silence; and takes over in time, whatever the clock does."""
    world = shifted
    active = await world.streaming(delivery_lease_ttl="3s")
    standby = world.ditto(delivery_lease_ttl="3s")
    await standby.logged("slot.standby")
    # Taking over because PostgreSQL has ended a connection, by its own clock, would be right: not what is asked here.
    world.sql("ALTER SYSTEM SET wal_sender_timeout = 0", "SELECT pg_reload_conf()")
    with Ledger(world, writer_count=1) as ledger:
        for shift in (HOUR_S, 0, -HOUR_S):
            clock.step_to(shift)
            began_at = time.monotonic()
            await some(ledger)
            await eventually(partial(has_passed, began_at + 6), "two times to live are over")
            assert not standby.logs("slot.holder_ended")
        assert not standby.logs("pipeline.streaming")
        for shift in (HOUR_S, -HOUR_S):
            active.send(signal.SIGSTOP)
            clock.step_to(shift)
            began_at = time.monotonic()
            await standby.logged("slot.holder_ended", timeout_s=30)
            await standby.streaming(timeout_s=30)
            took_s = time.monotonic() - began_at
            print(f"taken over in {took_s:.1f} s, with the clock at {shift:+d} s")
            assert 2 < took_s < 15
            active.kill()
            active, standby = standby, world.ditto(delivery_lease_ttl="3s")
            await standby.logged("slot.standby")
            await some(ledger)
    await matches_ledger(world)
