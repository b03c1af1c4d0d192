"""The other commands, where the events go to a file; test_file_reading.py has tail and verify."""

from __future__ import annotations

import asyncio
import fcntl
import json
from typing import TYPE_CHECKING

import pytest

from ditto.lsn import Position, parse_lsn

if TYPE_CHECKING:
    from e2e.sinks.file_world import FileWorld
    from e2e.sinks.replayed_world import ReplayedWorld


@pytest.mark.parametrize("command", [["tail"], ["verify"], ["wait", "0/1"]], ids=lambda command: command[0])
def test_standard_output_cannot_be_read_again(file_world: FileWorld, command: list[str]) -> None:
    file_world.settings["DITTO_FILE_PATH"] = "-"
    done = file_world.run(*command)
    assert done.returncode == 2
    sentence, hint = done.stderr.splitlines()
    assert "go to standard output, where nothing can be read again" in sentence
    assert "file.path" in hint


@pytest.mark.parametrize("command", [["tail", "--no-follow"], ["wait", "0/1", "--timeout", "0s"]], ids=["tail", "wait"])
def test_a_file_that_is_not_there(file_world: FileWorld, command: list[str]) -> None:
    done = file_world.run(*command)
    assert done.returncode in {1, 4}
    assert str(file_world.path) in done.stderr
    assert not file_world.path.exists()


async def test_check_looks_at_both_ends(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    found = checked(world)
    assert found["role.connect"]["level"] == "ok"
    assert found["file.path"]["what"] == f"file {world.path} can be created"
    assert {each: found[each]["level"] for each in ("file.lock", "file.tail")} == {"file.lock": "ok", "file.tail": "ok"}
    assert "free on the file system" in found["file.space"]["what"]
    assert not [check for check in found if check.startswith(("nats", "stream"))]
    assert not world.path.exists(), "nothing is changed"
    process = await world.streaming()
    await world.fence()
    assert "file.lock" not in checked(world), "the Ditto that works has it"
    assert await process.stop() == 0
    found = checked(world)
    assert found["file.path"]["what"] == f"file {world.path} can be appended to"
    assert found["file.tail"]["what"].startswith("the slot is not after the file's tail (")
    with world.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another process has locked" in checked(world)["file.lock"]["what"]
    with world.path.open("r+b") as file:
        file.truncate(len(file.readline()))
    assert checked(world, code=1)["file.tail"]["level"] == "error", "the slot is after what is left"


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("missing/f", "there is no folder"),
        (".", "is not a regular file"),
        ("n" * 300, "cannot be used: File name too long"),
        ("/proc/f", "cannot be used: No such file or directory"),
    ],
)
def test_check_of_a_path_that_cannot_be_used(file_world: FileWorld, path: str, what: str) -> None:
    file_world.settings["DITTO_FILE_PATH"] = str(file_world.folder / path)
    assert what in checked(file_world, code=1)["file.path"]["what"]


def checked(world: ReplayedWorld, *, code: int = 0) -> dict[str, dict[str, str]]:
    done = world.run("check", "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return {finding["check"]: finding for finding in json.loads(done.stdout)}


async def test_status_tells_of_slot_and_file(file_world: FileWorld) -> None:
    world = file_world
    process = await world.streaming()
    await world.fence()
    done = world.run("status", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["survey"]["slot"]["name"] == world.name
    assert told["survey"]["stream"] is None
    assert (told["survey"]["problems"], told["survey"]["notes"]) == ([], [])
    assert told["survey"]["sink"]["name"] == f"file {world.path}"
    assert told["survey"]["sink"]["kind"] == "file"
    assert Position.parse(told["survey"]["sink"]["tail"]) > Position(0, 0)
    assert told["lag_s"] is not None
    assert str(world.path) in world.run("status").stdout.replace("\n", "").replace(" ", "")
    assert await process.stop() == 0


async def test_wait_returns_once_the_transaction_is_there(file_world: FileWorld) -> None:
    world = file_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    process = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    lsn = world.value("SELECT pg_current_wal_lsn()::text")
    done = await asyncio.to_thread(world.run, "wait", lsn)
    assert done.returncode == 0, done.stderr
    assert parse_lsn(done.stdout.strip()) >= parse_lsn(lsn)
    assert b'"data":{"id":1}' in world.path.read_bytes()
    assert await process.stop() == 0
    world.sql("INSERT INTO t VALUES (2)")
    lsn = world.value("SELECT pg_current_wal_lsn()::text")
    late = world.run("wait", lsn, "--timeout", "50ms")
    assert late.returncode == 1
    assert f"file {world.path} has not reached {lsn}" in late.stderr
