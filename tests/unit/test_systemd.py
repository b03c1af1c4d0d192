"""The notifications to systemd, on a socket like its own."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ditto.service import systemd as notify


class Running:
    state = "connecting"


class Systemd:
    """The receiving end of a notification socket."""

    def __init__(self, name: str) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind("\0" + name[1:] if name.startswith("@") else name)
        self.channel.setblocking(False)

    async def hears(self) -> list[str]:
        """The lines of the next notification."""
        async with asyncio.timeout(10):
            return (await asyncio.get_running_loop().sock_recv(self.channel, 4096)).decode().split("\n")


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path has room for about 100 bytes
        name = str(Path(folder, "notify")) if request.param == "path" else f"@ditto-test-{os.getpid()}"
        monkeypatch.setenv(notify.VARIABLE, name)
        systemd = Systemd(name)
        yield systemd
        systemd.channel.close()


async def test_ready_is_said_when_it_streams_and_not_before(systemd: Systemd) -> None:
    source = Running()
    async with notify.keep_notified(source):
        assert await systemd.hears() == ["STATUS=connecting"]
        source.state = "streaming"
        assert await systemd.hears() == ["READY=1", "STATUS=streaming"]


async def test_standing_by_is_ready_too(systemd: Systemd) -> None:
    source = Running()
    source.state = "standby"
    async with notify.keep_notified(source):
        assert await systemd.hears() == ["READY=1", "STATUS=standby"]


async def test_the_watchdog_is_fed_while_the_loop_turns(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    async with notify.keep_notified(Running()):
        assert await systemd.hears() == ["STATUS=connecting"]
        assert await systemd.hears() == ["WATCHDOG=1"]
        assert await systemd.hears() == ["WATCHDOG=1"]


async def test_nothing_is_sent_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(notify.VARIABLE, raising=False)
    tasks = len(asyncio.all_tasks())
    notify.send("READY=1")
    async with notify.keep_notified(Running()):
        assert len(asyncio.all_tasks()) == tasks


def test_a_socket_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(notify.VARIABLE, str(tmp_path / "gone"))
    notify.send("READY=1")
