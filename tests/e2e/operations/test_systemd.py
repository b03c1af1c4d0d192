"""`ditto run` as a unit of systemd: what it says on the notification socket, from start to stop."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from e2e.process import eventually
from e2e.world import World


async def test_ready_after_it_streams_alive_meanwhile_and_stopping_at_the_end(world: World) -> None:
    heard: list[str] = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        name = str(Path(folder, "notify"))
        channel.bind(name)
        channel.setblocking(False)

        def hears(line: str) -> bool:
            try:
                while True:
                    heard.extend(channel.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return line in heard

        world.settings |= {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "500000"}
        ditto = await world.streaming()
        await eventually(lambda: hears("READY=1"), "it says that it is ready")
        assert "STATUS=streaming" in heard
        await eventually(lambda: hears("WATCHDOG=1"), "it feeds the watchdog")
        assert not hears("STOPPING=1")
        assert await ditto.stop() == 0
        assert hears("STOPPING=1")


async def test_one_that_stands_by_is_ready(world: World) -> None:
    await world.streaming()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        name = str(Path(folder, "notify"))
        channel.bind(name)
        channel.settimeout(20)
        world.settings["NOTIFY_SOCKET"] = name
        world.ditto()
        heard = ""
        while "READY=1" not in heard:
            heard = channel.recv(4096).decode()
        assert heard == "READY=1\nSTATUS=standby"
