"""`ditto tail` and `ditto verify` on a file: events of every format, records, messages, snapshots."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.sinks.file_world import FileWorld


async def test_a_lost_line_is_a_difference_and_where_tail_begins(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 20)")
    await world.fence()
    assert await ditto.stop() == 0
    assert len(world.run("tail", "--no-follow", "--json", "--since", "1h", "-t", "t").stdout.splitlines()) == 20
    assert world.run("tail", "--no-follow", "--json", "--since", "2100-01-01T00:00:00Z").stdout == ""
    assert len(world.run("tail", "--no-follow", "--json", "--last", "3").stdout.splitlines()) <= 3
    content = world.path.read_bytes().splitlines(keepends=True)
    lost = next(line for line in content if b'"data":{"id":7}' in line)
    world.path.write_bytes(b"".join(line for line in content if line != lost))
    assert world.run("verify", "--timeout", "100ms").returncode == 1


def in_folder(world: FileWorld, commands: str) -> None:
    subprocess.run(["sh", "-ec", commands], check=True, cwd=world.folder)


async def test_rotated_files_are_followed_and_verified_together(file_world: FileWorld) -> None:
    """As docs/guides/files.md says."""
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 5)")
    await world.fence()
    following = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", "tail", "--last", "1000", "--json", "-t", "t"),
        env={**os.environ, **world.settings},
        stdout=asyncio.subprocess.PIPE,
    )
    assert following.stdout is not None
    async with asyncio.timeout(30):
        found = [json.loads(await following.stdout.readline())["data"]["id"] for _ in range(5)]
    assert await ditto.stop() == 0
    in_folder(world, "mv events.jsonl events-1.jsonl; tail -n 1 events-1.jsonl > events.jsonl")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(6, 9)")
    await world.fence()
    async with asyncio.timeout(30):
        found += [json.loads(await following.stdout.readline())["data"]["id"] for _ in range(4)]
    assert found == list(range(1, 10)), "each once, over both files"
    following.terminate()
    assert await following.wait() == 128 + signal.SIGTERM
    assert await asyncio.to_thread(lambda: world.run("verify").returncode) == 1, "one file has not everything"
    assert await ditto.stop() == 0
    in_folder(world, "tail -n +2 events.jsonl | cat events-1.jsonl - > whole.jsonl")
    world.settings["DITTO_FILE_PATH"] = str(world.folder / "whole.jsonl")
    verified = world.run("verify", "--timeout", "0s")
    assert verified.returncode == 0, verified.stdout + verified.stderr
