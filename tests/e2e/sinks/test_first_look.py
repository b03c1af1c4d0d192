"""Commands before `ditto run` has ever run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2e.sinks.replayed_world import ReplayedWorld


@pytest.mark.parametrize(
    "sink", ["kafka", *(pytest.param(sink, marks=pytest.mark.long) for sink in ("redis", "rabbitmq", "file"))]
)
def test_nothing_is_there_yet(request: pytest.FixtureRequest, sink: str) -> None:
    world: ReplayedWorld = request.getfixturevalue(f"{sink}_world")
    tail = world.run("tail", "--no-follow")
    assert tail.returncode == 4
    assert tail.stderr.startswith("ditto: error: there is no ")
    assert "hint: has ditto run yet?" in tail.stderr
    began_at = time.monotonic()
    verify = world.run("verify", "--timeout", "50s")
    assert verify.returncode == 3
    assert f"publication {world.name} does not exist" in verify.stderr
    assert time.monotonic() - began_at < 40, "nothing is waited for that will not come"
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    began_at = time.monotonic()
    verify = world.run("verify", "--timeout", "50s")
    assert verify.returncode == 4
    assert "hint: has ditto run yet?" in verify.stderr
    assert time.monotonic() - began_at < 40, "without a slot nothing will come"
    wait = world.run("wait", "0/1000000", "--timeout", "100ms")
    assert wait.returncode == 1
    assert "has not reached 0/1000000 within 0.1 s: it does not exist" in wait.stderr
    assert "ditto run creates it when it starts" in wait.stderr
    status = world.run("status")
    assert status.returncode == 1
    assert f"slot {world.name}: it does not exist" in status.stdout
