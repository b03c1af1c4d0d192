"""`ditto run` with a file: what it holds, and what becomes of it when something goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import ditto
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.sinks.file_world import FileWorld


async def test_the_file_against_the_tables(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text, doc json)")
    ditto = await world.streaming()
    world.sql(
        "INSERT INTO t SELECT n, 'row ' || n, json_build_object('n', n) FROM generate_series(1, 500) AS n",
        "UPDATE t SET name = E'two\\nlines' WHERE id % 2 = 0",
        "DELETE FROM t WHERE id % 5 = 0",
    )
    await world.fence()
    await world.matches_tables(event_count=500 + 250 + 100)
    world.sql('INSERT INTO t VALUES (1001, NULL, E\'{\\n  "a": [1,\\r\\n 2],\\r "b": "c"}\')')
    await world.fence()
    with world.path.open(encoding="utf-8") as file:  # as most programs read lines: \r ends one, too
        parsed = [json.loads(line) for line in file]
    assert parsed[0]["lsn"], "a file begins with the checkpoint that claims it"
    assert [each["data"]["doc"] for each in parsed if each.get("data", {}).get("id") == 1001] == [
        {"a": [1, 2], "b": "c"}
    ]
    connections = [each.raddr for each in psutil.Process(ditto.pid).net_connections("inet") if each.raddr]
    assert all(address.port == world.postgres.port for address in connections), "PostgreSQL alone"
    assert await ditto.stop() == 0
    assert world.path.stat().st_mode & 0o007 == 0, "not for everybody"


async def test_a_signal_stores_and_confirms_what_was_read(file_world: FileWorld) -> None:
    world = file_world
    ditto = await world.streaming()
    with Ledger(world) as ledger:
        for _ in range(3):
            await ledger.goes_on(20)
            assert await ditto.stop() == 0
            assert ditto.logs("pipeline.drained")
            assert world.path.read_bytes().endswith(b"\n")
            ditto = await world.streaming()
    await matches_ledger(world)
    asked_at = time.monotonic()
    assert await ditto.stop() == 0
    assert time.monotonic() - asked_at < 5
    assert world.confirmed_lsn <= (await world.tail()).commit_lsn


async def test_a_line_that_was_torn_is_cut_off(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 100)")
    await world.fence()
    assert await ditto.stop() == 0
    whole = world.path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    with world.path.open("ab") as file:
        file.write(last[: len(last) // 2])
    ditto = await world.streaming()
    await eventually(lambda: world.path.read_bytes()[: len(whole)] == whole, "it is as before")
    await world.fence()
    await world.matches_tables(event_count=100)


async def test_a_file_of_another_slot_is_refused(file_world: FileWorld) -> None:
    world = file_world
    ditto = await world.streaming()
    await world.fence()
    assert await ditto.stop() == 0
    before = world.path.read_bytes()
    other = world.ditto(postgres_slot=f"{world.name}_other")
    assert await other.ended() == 4
    assert "holds events of another slot" in other.sentence()
    assert "file.path" in other.sentence()
    assert world.path.read_bytes() == before
    assert world.value(f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{world.name}_other'") == 0


@pytest.mark.parametrize("content", [b'{"schema": {}, "title": 1}', b'{"schema":"x"}\n'])
async def test_a_small_file_of_another_program_is_left_alone(file_world: FileWorld, content: bytes) -> None:
    world = file_world
    world.path.write_bytes(content)
    ditto = world.ditto()
    assert await ditto.ended() == 4
    assert "FileUnusable" in ditto.output
    assert "file.path" in ditto.sentence()
    assert world.path.read_bytes() == content
    assert world.value(f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{world.name}'") == 0


async def test_a_second_one_stands_by_and_takes_over(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    world.sql("INSERT INTO t SELECT generate_series(1, 100)")
    await world.fence()
    first.kill()
    await second.streaming(timeout_s=30)
    world.sql("INSERT INTO t SELECT generate_series(101, 200)")
    await world.fence()
    await world.matches_tables(event_count=200)


async def test_a_file_that_is_locked(file_world: FileWorld) -> None:
    """By a Ditto whose connection to PostgreSQL was ended, and which has not noticed yet."""
    world = file_world
    first = await world.streaming()
    await world.fence()
    first.send(signal.SIGSTOP)
    await world.ends_walsender()
    second = world.ditto()
    failure = await second.logged("session.failed", kind="NotNow")
    assert "is locked: another process writes to it" in failure["error"]
    assert failure["hint"]
    first.kill()
    await second.streaming()
    await world.fence()


async def test_one_that_was_frozen_lets_the_file_go_when_it_thaws(file_world: FileWorld) -> None:
    """PostgreSQL gives the slot to the standby, which has to wait for the lock."""
    world = file_world
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        f"ALTER ROLE CURRENT_USER IN DATABASE {world.name} SET wal_sender_timeout = '2s'",
    )
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    world.sql("INSERT INTO t SELECT generate_series(1, 100)")
    await world.fence()
    first.send(signal.SIGSTOP)
    world.sql("INSERT INTO t SELECT generate_series(101, 200)")
    failure = await second.logged("session.failed", kind="NotNow")
    assert "is locked: another process writes to it" in failure["error"]
    first.send(signal.SIGCONT)
    await first.logged("session.failed")
    # The standby tries again and again; between two of its trials the former leader may get slot and file back.
    await eventually(
        lambda: bool(second.logs("pipeline.streaming")) or len(first.logs("pipeline.streaming")) == 2,
        "one of the two streams",
    )
    world.sql("INSERT INTO t SELECT generate_series(201, 300)")
    await world.fence()
    await world.matches_tables(event_count=300)


async def test_a_file_that_was_replaced(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 100)")
    await world.fence()
    old = world.path.with_suffix(".old")
    world.path.rename(old)
    world.sql("INSERT INTO t VALUES (101)")
    failure = await ditto.logged("session.failed")
    assert failure["kind"] == "SinkLost"
    assert "was removed or replaced" in failure["error"]
    assert await ditto.ended() == 4
    assert "StreamGap" in ditto.output
    kept = old.read_bytes()
    assert b'"data":{"id":101}' not in kept, "what was not acknowledged is cut off again"
    with world.path.open("wb") as file:  # as the documentation says: the new one begins with the old one's last line
        file.write(kept.splitlines(keepends=True)[-1])
    await world.streaming()
    await world.fence()
    new = world.lines()[1:]
    messages = world.stored([*kept.splitlines(), *new])
    rows = [message.change[2] for message in messages if message.payload.startswith(b'{"id":')]
    assert [row for row in rows if row is not None] == list(range(1, 102))


async def test_a_file_that_somebody_truncates(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 100)")
    await world.fence()
    with world.path.open("r+b") as file:
        file.truncate(0)
    world.sql("INSERT INTO t VALUES (101)")
    failure = await ditto.logged("session.failed")
    assert failure["kind"] == "ChainBroken"
    assert "changed by somebody else" in failure["error"]
    assert await ditto.ended() == 4
    assert world.path.stat().st_size == 0, "nothing is written where something is missing before it"


@pytest.mark.parametrize("path", ["missing/events.jsonl", ".", "/dev/null"])
async def test_a_path_that_cannot_be_used(file_world: FileWorld, path: str) -> None:
    ditto = file_world.ditto(file_path=str(file_world.folder / path))
    assert await ditto.ended() == 4
    sentence = ditto.sentence()
    assert "hint:" in sentence
    assert file_world.value("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE current_database()") == 0


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_the_disk_is_full(small_disk: Path, file_world: FileWorld) -> None:
    world = file_world
    world.path = small_disk / "events.jsonl"
    world.settings["DITTO_FILE_PATH"] = str(world.path)
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming()
    await world.fence()
    for first in range(1, 50_000, 1000):
        world.sql(f"INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series({first}, {first + 999}) AS n")
    failure = await ditto.logged("session.failed", kind="NotNow", count=2, timeout_s=60)
    assert "No space left on device" in failure["error"]
    assert "make room" in failure["hint"]
    assert world.path.read_bytes().endswith(b"\n"), "no half line is left"
    assert world.confirmed_lsn <= (await world.tail()).commit_lsn
    assert ditto.is_running
    mount("-o", "remount,size=1g", small_disk)
    await world.fence(timeout_s=60)
    await world.matches_tables(event_count=50_000)
    assert await ditto.stop() == 0


def test_nothing_of_nats_is_imported(file_world: FileWorld) -> None:
    """Neither by the sink, nor by what `ditto run` does beside it: the checks, and the status over HTTP."""
    program = """
import asyncio, sys
import structlog
from ditto.check.run import run_checks
from ditto.config import Config, File, Postgres
from ditto.monitoring.server_status import ServerStatusReader
from ditto.monitoring.state import States
from ditto.pipeline import supervisor
from ditto.pipeline.pipeline import Pipeline

async def main(dsn, name, path):
    stop, states = asyncio.Event(), States()
    states.listeners.append(lambda change: stop.set() if change.state == "streaming" else None)
    config = Config(postgres=Postgres(dsn=dsn, slot=name, publication=name), file=File(path=path))
    await supervisor.follow(Pipeline(config=config, states=states), stop=stop)
    await run_checks(config, is_running=True)
    reader = ServerStatusReader(config)
    assert (await reader.read()).problems == []
    await reader.close()

asyncio.run(main(*sys.argv[1:]))
found = sorted(name for name in sys.modules if name.split(".")[0] == "nats" or name == "ditto.sinks.jetstream.sink")
print("imported:", found)
"""
    root = str(Path(ditto.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program, file_world.dsn, file_world.name, str(file_world.path)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported: []"
