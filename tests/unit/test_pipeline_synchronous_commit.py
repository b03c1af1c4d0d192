"""Watching whether PostgreSQL's commits wait for Ditto."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from ditto.monitoring.counters import Counters
from ditto.pipeline.synchronous_commit import SynchronousWatch
from ditto.tasks import end
from unit.fakes import FakeControl, fake_time


class Server(FakeControl):
    """`synchronous_standby_names` of a server, and what the walsender's state is."""

    def __init__(self, setting: str = "", state: str | None = "async") -> None:
        super().__init__({"see whether commits wait": lambda _: [self._row()]})
        self.setting, self.state = setting, state

    def _row(self) -> dict[str, Any]:
        return {"setting": self.setting, "application": "ditto", "state": self.state}


class Watch(SynchronousWatch):
    """Counts how often it says that commits begin to wait."""

    def __init__(self, server: Server, counters: Counters | None = None) -> None:
        super().__init__(server, 1, counters=counters or Counters())
        self.begun = 0

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.run(on_synchronous=self._on_synchronous))

    def _on_synchronous(self) -> None:
        self.begun += 1


@fake_time
async def test_it_is_noticed_when_commits_begin_to_wait_and_when_they_do_so_again() -> None:
    server = Server()
    watch = Watch(server)
    running = watch.start()
    await asyncio.sleep(5)
    assert watch.begun == 0
    for count in (1, 2):
        server.setting, server.state = "ditto", "sync"
        await asyncio.sleep(5)
        assert watch.is_synchronous
        assert watch.begun == count  # once, not at each look
        server.setting, server.state = "", "async"
        await asyncio.sleep(5)
        assert not watch.is_synchronous
    await end(running)


@pytest.mark.parametrize(
    ("setting", "state", "is_synchronous", "is_unasked"),
    [
        ("", "async", False, False),
        ("ditto", "sync", True, False),
        ("ANY 1 (Ditto, other)", "quorum", True, False),
        ("*", "sync", True, True),
        ("*", "potential", False, False),
        ("ditto", None, True, False),  # a role that may not see the state
        ("*", None, True, True),
        ("other", None, False, False),
    ],
)
@fake_time
async def test_who_is_waited_for(setting: str, state: str | None, is_synchronous: bool, is_unasked: bool) -> None:
    watch = Watch(Server(setting, state))
    running = watch.start()
    await asyncio.sleep(1)
    assert (watch.is_synchronous, watch.is_unasked) == (is_synchronous, is_unasked)
    await end(running)


@pytest.mark.parametrize(
    ("setting", "event", "level"),
    [("ditto", "postgres.synchronous", "info"), ("*", "postgres.synchronous_unasked", "warning")],
)
@fake_time
async def test_it_is_said_once_a_process(setting: str, event: str, level: str) -> None:
    counters = Counters()
    with capture_logs() as logs:
        for _ in range(2):  # two sessions
            running = Watch(Server(setting, "sync"), counters).start()
            await asyncio.sleep(5)
            await end(running)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [(event, level)]
