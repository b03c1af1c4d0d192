"""`ditto tail` on a real stream: what it prints, where it begins and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING

from e2e.process import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World

EVIL = "\x1b[2Jred\u009b31m\u202e"


def start(world: World, *arguments: str, out: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
    env = {"PATH": os.environ["PATH"], **world.settings, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "ditto", "tail", *arguments], env=env, stdout=out, stderr=subprocess.PIPE
    )


async def printed(world: World, *arguments: str) -> str:
    """What it prints when it does not follow."""
    process = start(world, "--no-follow", *arguments)
    out, err = await asyncio.to_thread(process.communicate, timeout=60)
    assert (process.returncode, err) == (0, b"")
    return out.decode()


async def filled(world: World) -> None:
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY, note text)",
        "CREATE TABLE whole (n int, note text, doc json)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
    )
    await world.streaming()
    world.sql(
        "INSERT INTO t VALUES (1, 'a')",
        "UPDATE t SET id = 2",
        "DELETE FROM t",
        "INSERT INTO whole VALUES (1, repeat('z', 1000), E'{\"a\":\\n 1}')",
        "UPDATE whole SET note = 'short'",
        f"UPDATE whole SET note = '{EVIL}'",
        "TRUNCATE t",
    )
    await world.events()


async def test_what_it_prints(world: World) -> None:
    await filled(world)
    out = await printed(world)
    lines = [line for line in out.splitlines() if "fence" not in line]
    heads = [tuple(line.split()[2:]) for line in lines if not line.startswith(" ")]
    assert heads == [
        ("INSERT", "public.t", "id=1"),
        ("UPDATE", "public.t", "id=2"),
        ("DELETE", "public.t", "id=2"),
        ("INSERT", "public.whole", "n=1"),
        ("UPDATE", "public.whole", "n=1"),
        ("UPDATE", "public.whole", "n=1"),
        ("TRUNCATE", "public.t"),
    ]
    assert "    id: 1 → 2" in lines
    assert any('(1,002 bytes) → "short"' in line and len(line) < 200 for line in lines)
    assert not any(sign in out for sign in "\x1b\u009b\u202e"), "a value must not drive the terminal"
    assert "_checkpoint" not in out


async def test_json_tables_and_actions(world: World) -> None:
    await filled(world)
    events = [json.loads(line) for line in (await printed(world, "--json", "--table", "public.w*")).splitlines()]
    assert [event["action"] for event in events] == ["INSERT", "UPDATE", "UPDATE"]
    assert events[2]["data"]["note"] == EVIL
    out = await printed(world, "--json", "-t", "t", "-t", "whole", "-a", "delete", "-a", "Truncate")
    assert [json.loads(line)["action"] for line in out.splitlines()] == ["DELETE", "TRUNCATE"]


async def test_where_it_begins(world: World) -> None:
    await filled(world)
    assert await printed(world, "--json", "--since", "1h") == await printed(world, "--json")
    assert await printed(world, "--json", "--since", "2100-01-01T00:00:00Z") == ""
    assert 1 <= len((await printed(world, "--json", "--last", "5")).splitlines()) <= 5
    for wrong in ("yesterday", "-5m"):
        process = start(world, f"--since={wrong}")
        _, err = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 2, err


async def test_it_follows_changes_nothing_and_ends_quietly(world: World, tmp_path: Path) -> None:
    await filled(world)
    before = (await world.info()).config
    path = tmp_path / "out"
    with path.open("wb") as out:
        process = start(world, "--table", "t", out=out)
        deadline = time.monotonic() + 30
        while "id=7" not in path.read_text():
            world.sql("INSERT INTO t VALUES (7, 'x') ON CONFLICT (id) DO UPDATE SET note = 'y'")
            await world.fence()
            assert time.monotonic() < deadline
        # Its consumer goes away, as with the server that kept it; and a row comes that is larger than a batch.
        async with world.jetstream() as jetstream:
            for consumer in await jetstream.consumers_info(world.stream):
                await jetstream.delete_consumer(world.stream, consumer.name)
        world.sql("INSERT INTO t VALUES (8, repeat('x', 700000)), (9, 'z')")
        await eventually(lambda: "id=9" in path.read_text(), "it goes on")
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert (process.returncode, err) == (130, b"")
    assert [path.read_text().count(f"INSERT    public.t  id={each}\n") for each in (8, 9)] == [1, 1]
    assert "fence" not in path.read_text()
    assert "id=1" not in path.read_text(), "it begins at the end"
    assert (await world.info()).config == before


async def test_a_reader_that_goes_away(world: World) -> None:
    await filled(world)
    process = start(world, "--last", "50")
    assert process.stdout is not None
    await asyncio.to_thread(process.stdout.readline)
    process.stdout.close()
    deadline = time.monotonic() + 30
    while process.poll() is None:
        world.sql("INSERT INTO fence DEFAULT VALUES")
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


async def test_nats_goes_away_and_comes_back(nats_world: World, tmp_path: Path) -> None:
    world = nats_world
    await filled(world)
    path = tmp_path / "out"
    with path.open("wb") as out:
        process = start(world, "--json", "--table", "t", "--last", "100", out=out)
        await eventually(lambda: path.read_text().count("\n") == 4, "it has caught up")
        world.nats_server.restart()
        world.sql("INSERT INTO t VALUES (8, 'x')")
        await eventually(lambda: '"id":8' in path.read_text(), "it goes on", timeout_s=40)
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert b"waiting for it to come back" in err
    assert b"Traceback" not in err
    assert path.read_text().count("\n") == 5, "nothing twice, nothing missing"


async def test_no_stream_and_no_server(world: World) -> None:
    for settings, words in (({}, b"there is no stream"), ({"--nats-url": "nats://127.0.0.1:1"}, b"cannot reach")):
        process = start(world, *(part for pair in settings.items() for part in pair))
        _, err = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 4
        assert words in err


async def test_colours_on_a_terminal_only(world: World) -> None:
    await filled(world)

    def on_terminal(no_colour: str) -> bytes:
        ours, theirs = pty.openpty()
        world.settings["NO_COLOR"] = no_colour
        process = start(world, "--no-follow", out=theirs)
        os.close(theirs)
        found = b""
        try:
            while part := os.read(ours, 4096):
                found += part
        except OSError:  # the other side is closed
            pass
        process.communicate(timeout=30)
        os.close(ours)
        return found

    assert b"\x1b[" in await asyncio.to_thread(on_terminal, "")
    assert b"\x1b" not in await asyncio.to_thread(on_terminal, "1")
