"""`ditto status`, with and without a running Ditto."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ditto
from ditto.testing.process import free_port
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World


async def run(world: World, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", "status", *arguments),
        env={**inherited, "PYTHONPATH": str(Path(ditto.__file__).parent.parent), **world.settings, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def told(world: World, *arguments: str, **settings: str) -> dict[str, Any]:
    code, out, err = await run(world, "--json", *arguments, **settings)
    assert code == 0, out + err
    found: dict[str, Any] = json.loads(out)
    return found


async def test_a_leader_and_a_standby_over_http_and_from_the_servers(world: World) -> None:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)")
    ports = free_port(), free_port()
    leader = await world.streaming(http_listen=f"127.0.0.1:{ports[0]}")
    standby = world.ditto(http_listen=f"127.0.0.1:{ports[1]}")
    await standby.logged("slot.standby")
    world.sql("INSERT INTO trades VALUES (1)")
    await world.fence()

    found = await told(world)
    assert (found["source"], found["process"]) == ("servers", None)
    assert [each["address"] for each in found["survey"]["standbys"]] == ["127.0.0.1"]
    host = socket.gethostname()[:40]
    assert [(each["host"], each["host_pid"]) for each in found["survey"]["standbys"]] == [(host, standby.pid)]
    assert (found["survey"]["leader"]["host"], found["survey"]["leader"]["host_pid"]) == (host, leader.pid)
    assert found["survey_age_s"] < 5
    assert found["survey"]["leader"]["walsender_pid"] == found["survey"]["slot"]["active_pid"]
    assert found["survey"]["leader"]["host"]
    assert found["survey"]["stream"]["messages"] >= 2
    assert found["survey"]["stream"]["tail"]

    found = await told(world, "--url", f"http://127.0.0.1:{ports[1]}")
    assert (found["source"], found["process"]["state"], found["process"]["is_ready"]) == ("ditto", "standby", True)
    found = await told(world, DITTO_HTTP_LISTEN=f":{ports[0]}")
    assert (found["source"], found["process"]["state"]) == ("ditto", "streaming")

    deadline = time.monotonic() + 15
    missing = ["everything"]
    while missing:  # it looks at the servers from time to time
        code, out, err = await run(world, DITTO_HTTP_LISTEN=f":{ports[0]}", COLUMNS="200")
        assert (code, err) == (0, "")
        wanted = (
            *("streaming", world.name, world.stream, "events/s", "at the median", "servers asked", " ago"),
            f"leader           {host}, pid {leader.pid}, from 127.0.0.1",
            f"standbys         {host}, pid {standby.pid}, from 127.0.0.1",
        )
        missing = [words for words in wanted if words not in out]
        assert time.monotonic() < deadline, f"{missing} not in\n{out}"
    assert await leader.stop() == 0
    await standby.streaming()
    assert (await told(world))["survey"]["standbys"] == [], "who has taken over stands by no longer"


async def test_without_a_running_ditto_and_with_nothing_there(world: World) -> None:
    code, out, _ = await run(world, "--json")
    found = json.loads(out)
    assert code == 1, "nobody holds the slot"
    assert found["survey"]["slot"] is found["survey"]["stream"] is found["survey"]["leader"] is None
    assert found["lag_s"] is None
    assert (found["survey"]["problems"], found["survey"]["notes"]) == ([], [f"slot {world.name}: it does not exist"])

    code, out, _ = await run(world, DITTO_NATS_URL=f"nats://127.0.0.1:{free_port()}", COLUMNS="200")
    assert code == 1, "one of the servers cannot be asked"
    assert "problem" in out

    code, _, err = await run(world, "--url", f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert "ditto: error: no status from" in err
    assert "hint" in err


async def test_watching_goes_on(world: World) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", "status", "--watch", "--every", "100ms", "--json"),
        env={**inherited, "PYTHONPATH": str(Path(ditto.__file__).parent.parent), **world.settings},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    async with asyncio.timeout(20):
        while len(lines) < 3:
            lines.append(await process.stdout.readline())
    process.kill()
    await process.communicate()
    assert [json.loads(line)["source"] for line in lines] == ["servers"] * 3
    await eventually(lambda: process.returncode is not None, "it has ended")
