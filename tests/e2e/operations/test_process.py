"""`ditto run` as a process: a log that takes nothing, signals, and being the first process of a container."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import ditto
from ditto.testing.process import free_port
from e2e.operations.test_http import fetch, samples
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.world import World

ROOT = Path(ditto.__file__).parent.parent
COMMAND = (sys.executable, "-m", "ditto", "run")


def environment(world: World, **settings: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))}
    return {**inherited, "PYTHONPATH": str(ROOT), **world.settings, **settings}


@contextmanager
def started(*command: str, env: dict[str, str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The process; killed at the end if it still runs."""
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait(10)


async def ended(process: subprocess.Popen[bytes]) -> int:
    await eventually(lambda: process.poll() is not None, "it has ended")
    assert process.returncode is not None
    return process.returncode


async def stores(world: World, port: int) -> None:
    """It streams, and an event arrives."""
    await eventually(lambda: fetch(port, "/readyz")[0] == 200, "it is ready")
    await world.fence()


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that is full and that nobody reads."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 512)
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The end to write to of a pipe of which the other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def full_disk() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("log", ["full_disk", "closed_pipe", "full_pipe"])
async def test_a_log_that_takes_nothing_neither_stops_nor_delays_it(
    log: str, request: pytest.FixtureRequest, world: World
) -> None:
    port = free_port()
    env = environment(world, DITTO_HTTP_LISTEN=f"127.0.0.1:{port}", DITTO_LOG_LEVEL="debug")
    with started(*COMMAND, env=env, stderr=request.getfixturevalue(log)) as process:
        await stores(world, port)
        if log != "full_pipe":  # there the lines still wait
            assert samples(port)["ditto_log_lost_lines_total"] >= 3
        process.terminate()
        assert await ended(process) == 0, "the exit code is that of a clean stop"


async def test_more_lines_than_a_pipe_that_nobody_reads_can_hold(full_pipe: int, nats_world: World) -> None:
    """Session after session fails, each with its lines: the loop goes on, and the queue has a limit."""
    port = free_port()
    env = environment(nats_world, DITTO_HTTP_LISTEN=f"127.0.0.1:{port}")
    with started(*COMMAND, env=env, stderr=full_pipe) as process:
        await stores(nats_world, port)
        nats_world.nats_server.stop()
        await eventually(lambda: fetch(port, "/readyz")[0] == 503, "it is not ready")
        nats_world.nats_server.start()
        await stores(nats_world, port)
        process.terminate()
        assert await ended(process) == 0


async def test_without_standard_error_it_runs_and_keeps_its_sockets_clean(world: World) -> None:
    port = free_port()
    env = environment(world, DITTO_HTTP_LISTEN=f"127.0.0.1:{port}")
    with started("sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, env=env) as process:
        await stores(world, port)
        assert standard_error(process.pid) == "/dev/null"
        process.terminate()
        assert await ended(process) == 0


async def test_the_exit_code_of_an_error_that_cannot_be_said(full_disk: int, world: World) -> None:
    for settings, code in (({"DITTO_NATS_URLL": "x"}, 2), ({"DITTO_POSTGRES_CREATE": "false"}, 3)):
        with started(*COMMAND, env=environment(world, **settings), stderr=full_disk) as process:
            assert await ended(process) == code
    command = (sys.executable, "-m", "ditto", "slot", "status")  # the same of a command for people
    with started(*command, env=environment(world), stderr=full_disk) as process:
        assert await ended(process) == 3


async def test_a_fatal_stop_is_said_at_error_by_state_and_by_the_last_line(world: World) -> None:
    process = world.ditto(postgres_create="false")
    assert await process.ended() == 3
    assert process.logs("pipeline.state", state="stopped", level="error")
    assert "publication" in process.sentence()
    assert all(line.startswith("{") for line in process.output.splitlines())


# ------------------------------------------------------------------------------------ signals


async def test_under_nohup_a_hang_up_is_ignored(world: World) -> None:
    port = free_port()
    env = environment(world, DITTO_HTTP_LISTEN=f"127.0.0.1:{port}")
    with started("sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *COMMAND, env=env, stderr=subprocess.DEVNULL) as process:
        await stores(world, port)
        process.send_signal(signal.SIGHUP)
        await stores(world, port)
        process.terminate()
        assert await ended(process) == 0


@pytest.fixture
def looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once a name that ends in .silent is looked up, which takes a minute."""
    if sys.platform != "linux":
        pytest.skip("names are looked up through LD_PRELOAD")
    library, file = tmp_path / "resolver_shim.so", tmp_path / "looked_up"
    source = Path(__file__).parents[1] / "resolver_shim.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("LOOKED_UP", str(file))
    return file


@pytest.mark.parametrize(
    "settings",
    [{"nats_url": "nats://nats.silent"}, {"postgres_dsn": "postgres://u@postgres.silent/d"}],
    ids=lambda settings: next(iter(settings)),
)
async def test_it_stops_while_a_name_is_looked_up(world: World, looked_up: Path, settings: dict[str, str]) -> None:
    process = world.ditto(**settings)
    await eventually(looked_up.exists, "the name is looked up")
    began = time.monotonic()
    assert await process.stop() == 0
    assert time.monotonic() - began < 5


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether that process has a handler for the signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def standard_error(pid: int) -> str:
    """What that process writes its log to."""
    return str(Path(f"/proc/{pid}/fd/2").readlink())


def has_imported(pid: int) -> bool:
    """Whether that process has loaded libpq."""
    return "libpq" in Path(f"/proc/{pid}/maps").read_text()


def can_unshare() -> bool:
    tried = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("command", [("run",), ("tail",)], ids=" ".join)
async def test_the_first_process_of_a_container_handles_signals_before_its_imports(
    command: tuple[str, ...], number: signal.Signals, world: World
) -> None:
    if not can_unshare():
        pytest.skip("this machine does not allow a PID namespace: unshare needs CAP_SYS_ADMIN")
    inside = (sys.executable, "-m", "ditto", *command)
    with started(
        *("unshare", "--pid", "--fork", "--mount-proc"), *inside, env=environment(world), stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 20
        first: psutil.Process | None = None
        while first is None or not handles(first.pid, signal.SIGTERM):
            assert time.monotonic() < deadline
            first = next(iter(psutil.Process(process.pid).children()), None)
            await asyncio.sleep(0)
        assert not has_imported(first.pid), "the imports are still to come"
        began = time.monotonic()
        first.send_signal(number)
        assert await ended(process) == 128 + number
        assert time.monotonic() - began < 5


async def test_the_first_process_of_a_container_drains(world: World) -> None:
    if not can_unshare():
        pytest.skip("this machine does not allow a PID namespace: unshare needs CAP_SYS_ADMIN")
    port = free_port()
    env = environment(world, DITTO_HTTP_LISTEN=f"127.0.0.1:{port}")
    unshare = ("unshare", "--pid", "--fork", "--mount-proc")
    with started(*unshare, *COMMAND, env=env, stderr=subprocess.DEVNULL) as process:
        await stores(world, port)
        psutil.Process(process.pid).children()[0].terminate()
        assert await ended(process) == 0
        await world.confirms_tail()
