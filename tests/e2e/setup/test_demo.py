"""`ditto demo` as someone runs it: a process of its own, with no terminal."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 60
FLEET_DEADLINE_S = 180
DEMO = [sys.executable, "-m", "ditto", "demo"]

# Runs the demo, but one stored message disappears before the check: the last insert, long after the rows were read.
LOSE_A_MESSAGE = """
import sys
import ditto.demo.followed
import ditto.demo.run
replay = ditto.demo.followed.replay
async def replay_with_a_hole(client, stream, **more):
    jetstream = client.jetstream()
    last = await jetstream.get_last_msg(stream, "ditto_public_audit_log")
    await jetstream.delete_msg(stream, last.seq)
    return await replay(client, stream, **more)
ditto.demo.followed.replay = replay_with_a_hole
sys.exit(not ditto.demo.run.run(seconds=3, rows_per_s=1000, keep=False))
"""


class Running:
    """A process whose output is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output = ""
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=[process.stdout])
        self._reader.start()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            self.output += line

    def wait_for(self, pattern: str, *, deadline_s: float = DEADLINE_S) -> re.Match[str]:
        deadline = time.monotonic() + deadline_s
        while not (match := re.search(pattern, self.output, re.MULTILINE)):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.output}"
            assert self.process.poll() is None, f"ended without {pattern!r}:\n{self.output}"
            time.sleep(0.02)
        return match

    def wait(self, *, deadline_s: float = DEADLINE_S) -> int:
        code = self.process.wait(deadline_s)
        self._reader.join(DEADLINE_S)
        return code


@contextmanager
def start(command: list[str], tmp_path: Path, **environment: str) -> Iterator[Running]:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), **environment},
    ) as process:
        running = Running(process)
        try:
            yield running
        finally:
            process.kill()
            running.wait()


def family(pid: int) -> list[psutil.Process]:
    return list(psutil.Process(pid).children(recursive=True))


def socket_folder(processes: list[psutil.Process]) -> Path:
    command = next(line for process in processes if (line := " ".join(process.cmdline())) and "wal_level=" in line)
    match = re.search(r"unix_socket_directories=(\S+)", command)
    assert match
    return Path(match[1])


def assert_nothing_is_left(processes: list[psutil.Process], *folders: Path) -> None:
    deadline = time.monotonic() + 20
    while left := [process for process in processes if is_alive(process)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert [path for folder in folders if folder.exists() for path in (folder, *folder.iterdir())] == []


def is_alive(process: psutil.Process) -> bool:
    try:
        # In a container without an init process nobody may collect an orphan.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_it_shows_events_and_ends_with_a_stream_that_equals_the_tables(tmp_path: Path) -> None:
    # What the environment says about other servers must not matter.
    other = {
        "DITTO_NATS_URL": "nats://192.0.2.1",
        "DB_DSN": "postgres://192.0.2.1/x",
        "PGPORT": "1",
        "PGSSLMODE": "require",
    }
    with start([*DEMO, "--seconds", "2", "--rate", "3000"], tmp_path, **other) as demo:
        assert demo.wait() == 0, demo.output
    output = demo.output
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", output), "control codes without a terminal"
    assert re.search(r"^ *ditto_public_\w+ (INSERT|UPDATE|DELETE|TRUNCATE) {", output, re.MULTILINE)
    stored, committed = re.search(r"^events stored +([\d,]+) of ([\d,]+) committed", output, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert stored == committed
    assert int(stored.replace(",", "")) > 2000
    read = re.search(r"^rows read +([\d,]+), in their place among the changes$", output, re.MULTILINE)
    assert read
    assert int(read[1].replace(",", "")) > 5000, "the rows that were there before"
    assert re.search(r"^rate +[\d,]+ events/s$", output, re.MULTILINE)
    assert re.search(r"^commit to stored +p50 \d+\.\d ms, p99 \d+\.\d ms$", output, re.MULTILINE)
    assert re.search(r"^lag at the end +\d", output, re.MULTILINE)
    assert re.search(r"^compared +[\d,]+ rows of 6 tables$", output, re.MULTILINE)
    assert re.search(r"^result +stream equals tables$", output, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_difference_is_shown_and_the_exit_code_says_so(tmp_path: Path) -> None:
    with start([sys.executable, "-c", LOSE_A_MESSAGE], tmp_path) as demo:
        assert demo.wait() == 1, demo.output
    assert re.search(r"^DIFFERENT  public\.audit_log \S.*: missing row$", demo.output, re.MULTILINE)
    assert re.search(r"^DIFFERENT  stream: [\d,]+ events for [\d,]+ committed changes$", demo.output, re.MULTILINE)
    assert re.search(r"^result +\d+ differences$", demo.output, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with start(DEMO, tmp_path, DITTO_IMPL="fortran") as demo:
        assert demo.wait() == 1, demo.output
    assert re.search(r"^ditto: error: ditto run ended \(exit code \d\)$", demo.output, re.MULTILINE)
    assert "fortran" in demo.output
    assert "Traceback" not in demo.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "moment", ["Starting PostgreSQL", pytest.param("Starting ditto run", marks=pytest.mark.long), "events stored"]
)
def test_an_interruption_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    with start([*DEMO, "--seconds", "60"], tmp_path) as demo:
        demo.wait_for(moment)
        processes = family(demo.process.pid)
        demo.process.send_signal(number)
        assert demo.wait() == 130, demo.output
    assert "Traceback" not in demo.output
    assert_nothing_is_left(processes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.timeout(500)
def test_a_fleet_loses_a_node_and_every_stream_equals_its_tables(tmp_path: Path) -> None:
    with start([*DEMO, "--fleet", "--seconds", "9", "--rate", "1500"], tmp_path) as demo:
        demo.wait_for(r"^kill -9 of node n\d \(process \d+\), which runs \w+", deadline_s=FLEET_DEADLINE_S)
        processes = family(demo.process.pid)
        assert demo.wait(deadline_s=FLEET_DEADLINE_S) == 0, demo.output
    output = demo.output
    for command in ("nodes", "pipelines apply -f pipelines", "pipelines list"):
        assert f"$ ditto {command}\n    " in output
    assert re.search(r"^[\w, ]+: on node n\d after \d+\.\d s$", output, re.MULTILINE)
    for name in ("london", "paris", "tokyo"):
        assert re.search(rf"^{name} +stream equals tables$", output, re.MULTILINE), output
    assert_nothing_is_left(processes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.timeout(500)
@pytest.mark.parametrize("moment", [r"^\$ ditto pipelines apply", r"^kill -9 of"])
def test_an_interrupted_fleet_leaves_nothing_behind(tmp_path: Path, moment: str) -> None:
    with start([*DEMO, "--fleet", "--seconds", "60", "--rate", "600"], tmp_path) as demo:
        demo.wait_for(moment, deadline_s=FLEET_DEADLINE_S)
        processes = family(demo.process.pid)
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait(deadline_s=FLEET_DEADLINE_S) == 130, demo.output
    assert "Traceback" not in demo.output
    assert_nothing_is_left(processes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_keep_prints_two_commands_that_work(tmp_path: Path) -> None:
    with start([*DEMO, "--seconds", "0.5", "--rate", "500", "--keep"], tmp_path) as demo:
        watch_command = demo.wait_for(r"^\S.*demo --watch .*$")[0]
        psql_command = demo.wait_for(r"^\S*psql .*$")[0]
        processes = family(demo.process.pid)
        run_folder = socket_folder(processes)
        assert run_folder.exists()
        with start(shlex.split(watch_command), tmp_path) as watch:
            watch.wait_for(r"^ditto_public_\w+ {")  # the workload goes on
            subprocess.run(shlex.split(psql_command), check=True, stdout=subprocess.DEVNULL)
            watch.wait_for(r'^ditto_public_audit_log {.*"actor":"you","action":"hello"')
            demo.process.send_signal(signal.SIGINT)
            assert demo.wait() == 0, demo.output
            assert watch.wait() == 0, watch.output  # it ends with the server
            assert "Traceback" not in watch.output
    assert_nothing_is_left(processes, run_folder)
    assert list(tmp_path.iterdir()) == []


def test_watch_says_when_nobody_answers(tmp_path: Path) -> None:
    with start([*DEMO, "--watch", "nats://127.0.0.1:1"], tmp_path) as watch:
        assert watch.wait() == 4
    assert watch.output.startswith("ditto: error: cannot connect to nats://127.0.0.1:1\n  hint: ")
