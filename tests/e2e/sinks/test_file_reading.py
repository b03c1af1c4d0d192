"""`ditto tail` and `ditto verify` on a file: events of every format, records, messages, snapshots."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from e2e.formats.test_commands import FORMATS

if TYPE_CHECKING:
    from e2e.sinks.file_world import FileWorld


async def test_verify_and_tail_of_all_formats(file_world: FileWorld) -> None:
    world = file_world
    world.sql(*(f"CREATE TABLE t{number} (id int PRIMARY KEY, n numeric)" for number in range(len(FORMATS))))
    tables = {"fence": {}, **{f"t{number}": {"format": name} for number, name in enumerate(FORMATS)}}
    await world.streaming(events_tables=tables)
    for number in range(len(FORMATS)):
        world.sql(f"INSERT INTO t{number} VALUES (1, 1.50), (2, 'NaN')", f"DELETE FROM t{number} WHERE id = 2")
    await world.fence()
    verified = await asyncio.to_thread(world.run, "verify", events_tables=tables)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "file equals tables" in verified.stdout
    for number, name in enumerate(FORMATS):
        assert (f"public.t{number}" in verified.stdout) == name.startswith("debezium"), verified.stdout
    shown = world.run("tail", "--no-follow")
    assert shown.stderr == ""
    for number in range(len(FORMATS)):
        assert f"INSERT    public.t{number}  id=1" in shown.stdout


async def test_messages_and_rows_of_a_snapshot(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 50)")
    settings = {"events_messages": {"orders.*": "{prefix}.{message.prefix}"}}
    await world.streaming(snapshot_mode="initial", **settings)
    world.transaction("INSERT INTO t VALUES (51)", "SELECT pg_logical_emit_message(true, 'orders.a', '{\"n\":3}')")
    await world.fence()
    verified = await asyncio.to_thread(world.run, "verify", "--json", **settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    report = json.loads(verified.stdout)
    assert (report["differences"], report["reads"] >= 50, report["messages"]) == ([], True, 1)
    reads = world.run("tail", "--no-follow", "--json", "--table", "t", "--action", "read").stdout.splitlines()
    rows = [json.loads(line)["data"]["id"] for line in reads if '"action":"READ"' in line]
    assert rows[:50] == list(range(1, 51)), "the row that came meanwhile may have been read too"
    (message,) = world.run("tail", "--no-follow", "--json", "--action", "message").stdout.splitlines()
    assert json.loads(message)["payload"] == {"n": 3}


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
