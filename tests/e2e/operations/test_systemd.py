"""`ditto run` as a unit of systemd: what it says on the notification socket, and the unit's command to reload."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from ditto.testing.process import free_port
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


UNIT = Path(__file__).parents[3] / "deploy/systemd/ditto.service"


def reload_command(file: Path, pid: int) -> list[str]:
    """As the unit has it, with this checkout's program and that file in place of the installed ones."""
    (line,) = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecReload=")]
    names = {
        "/opt/ditto/bin/ditto": str(Path(sys.executable).parent / "ditto"),
        "/etc/ditto/ditto.yaml": str(file),
        "$MAINPID": str(pid),
    }
    words = shlex.split(line.removeprefix("ExecReload="))
    assert set(names) <= set(words)
    return [names.get(word, word) for word in words]


@pytest.mark.parametrize("has_http", [True, False])
async def test_the_units_command_reloads(world: World, *, has_http: bool) -> None:
    """With the variables of the unit alone. Without HTTP the journal says what became of it."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    file = world.folder / "ditto.yaml"
    http = f"http: {{listen: '127.0.0.1:{free_port()}', token: '${{TOKEN}}'}}\n" if has_http else ""
    world.settings["TOKEN"] = "sesame"

    def write(subject: str) -> None:
        file.write_text(f"{http}events: {{topics: {{t: '{subject}'}}}}\n")

    async def reload() -> int:
        process = await asyncio.create_subprocess_exec(
            *reload_command(file, ditto.pid), env={"PATH": os.environ["PATH"], **world.settings}
        )
        async with asyncio.timeout(60):
            return await process.wait()

    write(f"{world.name}.before")
    ditto = await world.streaming(config=str(file))
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    write(f"{world.name}.after")
    assert await reload() == 0
    await ditto.logged("reload.applied")
    world.sql("INSERT INTO t VALUES (2)")
    write(f"{world.name}._checkpoint")
    assert (await reload() != 0) == has_http
    await ditto.logged("reload.refused")
    assert [each.subject for each in await world.events()] == [f"{world.name}.before", f"{world.name}.after"]
    assert await ditto.stop() == 0
