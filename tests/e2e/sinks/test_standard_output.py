"""`ditto run` that writes to standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

import ditto
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.sinks.file_world import FileWorld


def whole_lines(path: Path) -> list[bytes]:
    """The last one may just be written."""
    return path.read_bytes().split(b"\n")[:-1]


class Piped:
    """`ditto run`, with the lines of its standard output in a file, and its log in another."""

    def __init__(self, world: FileWorld, output: Path | int) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))
        }
        self.log = world.folder / "piped.log"
        root = str(Path(ditto.__file__).parent.parent)
        with ExitStack() as stack:
            log = stack.enter_context(self.log.open("ab"))
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ditto", "run", "--log-format", "json"],
                stdout=output if isinstance(output, int) else stack.enter_context(output.open("ab")),
                stderr=log,
                env={**inherited, "PYTHONPATH": root, **world.settings, "DITTO_FILE_PATH": "-"},
            )

    def logs(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in whole_lines(self.log)]
        return [line for line in lines if line["event"] == event]

    async def streaming(self, *, count: int = 1) -> None:
        await eventually(lambda: len(self.logs("pipeline.streaming")) >= count, "it streams")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def started() -> Iterator[list[Piped]]:
    found: list[Piped] = []
    yield found
    for each in found:
        each.process.kill()
        each.process.wait()


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Both ends as objects: closed twice, a number might be that of another file by then."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as reading, os.fdopen(writer, "wb", buffering=0) as writing:
        yield reading, writing


async def test_it_goes_on_after_what_was_confirmed(file_world: FileWorld, started: list[Piped]) -> None:
    """At least once: the last transaction comes again, and nothing before it."""
    world, output = file_world, file_world.folder / "output"
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")

    def rows() -> list[int]:
        events = [json.loads(line) for line in whole_lines(output)]
        assert all(event["id"] for event in events), "events alone"
        return [event["data"]["id"] for event in events]

    for first in (1, 101, 201):
        ditto = Piped(world, output)
        started.append(ditto)
        await ditto.streaming(count=len(started))
        for row in range(first, first + 100):
            world.sql(f"INSERT INTO t VALUES ({row})")
        await eventually(lambda: (rows() or [0])[-1] == first + 99, "all are there")  # noqa: B023
        assert ditto.stop() == 0
    found = rows()
    assert sorted(set(found)) == list(range(1, 301))
    twice = [row for row in set(found) if found.count(row) > 1]
    assert set(twice) <= {100, 200}, "at most the last one of each session"


async def test_a_reader_that_ends(file_world: FileWorld, started: list[Piped]) -> None:
    world = file_world
    with pipe() as (reader, writer):
        ditto = Piped(world, writer.fileno())
        started.append(ditto)
        writer.close()
        await ditto.streaming()
        reader.close()
        world.sql("INSERT INTO fence DEFAULT VALUES")
        assert ditto.process.wait(20) == 4
    (failure,) = ditto.logs("run.failed")
    assert failure["error"] == "standard output is closed: nobody reads the events any more"
    assert failure["hint"]
    assert "Traceback" not in ditto.log.read_text()


def test_standard_output_that_is_closed(file_world: FileWorld) -> None:
    command = ["/bin/sh", "-c", '"$0" -m ditto run --log-format json >&-', sys.executable]
    root = str(Path(ditto.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": root, **file_world.settings, "DITTO_FILE_PATH": "-"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 4
    assert "standard output was closed when Ditto started" in done.stderr


async def test_a_reader_that_is_slow_pauses_reading(file_world: FileWorld, started: list[Piped]) -> None:
    world, rows = file_world, 200_000
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    with pipe() as (reader, writer):
        ditto = Piped(world, writer.fileno())
        started.append(ditto)
        writer.close()
        await ditto.streaming()
        world.sql(f"INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, {rows}) AS n")
        count = 0
        with os.fdopen(os.dup(reader.fileno()), "rb") as lines:
            for line in lines:
                count += 1
                if b'"id":%d,' % rows in line:
                    break
        assert count == rows
        assert ditto.stop() == 0
