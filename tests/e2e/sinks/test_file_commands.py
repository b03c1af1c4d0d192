"""The other commands, where the events go to a file: each says what it cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ditto

if TYPE_CHECKING:
    from e2e.sinks.file_world import FileWorld


def run(world: FileWorld, *arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "ditto", *arguments],
        env={**inherited, "PYTHONPATH": str(Path(ditto.__file__).parent.parent), **world.settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", [["tail"], ["verify"], ["wait", "0/1"]], ids=lambda command: command[0])
def test_what_reads_a_stream_says_so(file_world: FileWorld, command: list[str]) -> None:
    done = run(file_world, *command)
    assert done.returncode == 2
    sentence, hint = done.stderr.splitlines()
    assert f"ditto {command[0]} reads a stream, and the events of this configuration go to file" in sentence
    assert str(file_world.path) in sentence
    assert "tail -F" in hint


async def test_check_looks_at_postgresql(file_world: FileWorld) -> None:
    file_world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    done = run(file_world, "check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert found["role.connect"]["level"] == "ok"
    assert found["file.path"]["what"] == f"not checked: the events go to file {file_world.path}"
    assert not [check for check in found if check.startswith(("nats", "stream"))]


async def test_status_tells_of_the_slot(file_world: FileWorld) -> None:
    process = await file_world.streaming()
    await file_world.fence()
    done = run(file_world, "status", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["survey"]["slot"]["name"] == file_world.name
    assert told["survey"]["stream"] is None
    assert told["survey"]["problems"] == []
    assert told["survey"]["notes"] == [f"the events go to file {file_world.path}, which is not looked at"]
    assert str(file_world.path) in run(file_world, "status").stdout.replace("\n", "")
    assert await process.stop() == 0
