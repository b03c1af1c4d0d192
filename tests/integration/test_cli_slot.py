"""`ditto slot` against a real server."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from click.testing import CliRunner, Result

from ditto.cli import main
from ditto.testing.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("pg"), settings={"fsync": "off"}) as running:
        yield running


@pytest.fixture
def slot(server: PostgresServer) -> Iterator[str]:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('s1', 'pgoutput')")
        yield "s1"
        connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def invoke(server: PostgresServer, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["slot", *arguments, "--dsn", server.dsn, "--slot", "s1"])


def exists(server: PostgresServer) -> bool:
    with psycopg.connect(server.dsn) as connection:
        return connection.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = 's1'").fetchone() is not None


def answer(server: PostgresServer, text: bytes | None) -> tuple[int, str]:
    """Run `ditto slot drop` on a terminal and type `text` at its question; None interrupts it instead."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "ditto", "slot", "drop", "--dsn", server.dsn, "--slot", "s1"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout
        output = b""
        while b"Drop it?" not in output and (part := os.read(process.stdout.fileno(), 4096)):
            output += part
        if text is None:
            # Again: one that comes between the question and the reading of the answer is noticed only afterwards.
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)
        else:
            os.write(ours, text)
        output += process.communicate(timeout=30)[0]
    os.close(theirs)
    os.close(ours)
    return process.returncode, output.decode()


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("drop", "--yes")])
def test_missing(server: PostgresServer, arguments: tuple[str, ...]) -> None:
    result = invoke(server, *arguments)
    assert result.exit_code == 3
    assert result.stderr.startswith("ditto: error: there is no replication slot s1\n  hint: ")


def test_status(server: PostgresServer, slot: str) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 20000) AS n")
        connection.execute("DROP TABLE t")
    table = invoke(server, "status")
    assert table.exit_code == 0, table.output
    for part in ("s1", "pgoutput", "confirmed LSN", "retained WAL", "MB", "reserved"):
        assert part in table.output
    row = json.loads(invoke(server, "status", "--json").stdout)
    assert (row["slot"], row["plugin"], row["active"], row["active_pid"]) == ("s1", "pgoutput", False, None)
    assert row["retained_bytes"] >= row["lag_bytes"] > 1_000_000


def test_drop(server: PostgresServer, slot: str) -> None:
    refused = invoke(server, "drop")
    assert refused.exit_code == 2
    assert exists(server)
    code, output = answer(server, b"n\n")
    assert (code, exists(server)) == (1, True)
    assert "gap" in output
    assert answer(server, None)[0] == 130
    assert exists(server)
    code, output = answer(server, b"y\n")
    assert (code, exists(server)) == (0, False)


def test_drop_yes(server: PostgresServer, slot: str) -> None:
    result = invoke(server, "drop", "--yes")
    assert (result.exit_code, result.stdout, exists(server)) == (0, "The slot s1 is gone.\n", False)


def test_active(server: PostgresServer, slot: str) -> None:
    reader = subprocess.Popen(
        [
            server.bin_dir / "pg_recvlogical",
            "-d",
            server.dsn,
            "--slot",
            "s1",
            "--start",
            "-f",
            "/dev/null",
            "-o",
            "proto_version=1",
            "-o",
            "publication_names=x",
        ],
        env={"LD_LIBRARY_PATH": str(server.bin_dir.parent / "lib"), **os.environ},
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 20
        while not json.loads(invoke(server, "status", "--json").stdout)["active"]:
            assert time.monotonic() < deadline
            assert reader.poll() is None, reader.stderr and reader.stderr.read()
        assert "yes (pid " in invoke(server, "status").output
        result = invoke(server, "drop", "--yes")
        print(result.stderr)
        assert result.exit_code == 3
        assert "is in use by PID" in result.stderr
    finally:
        reader.terminate()
        reader.communicate()
        deadline = time.monotonic() + 20
        while json.loads(invoke(server, "status", "--json").stdout)["active"]:
            assert time.monotonic() < deadline


def test_role_without_privilege(server: PostgresServer, slot: str) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN")
    dsn = psycopg.conninfo.make_conninfo(server.dsn, user="plain")
    result = CliRunner().invoke(main, ["slot", "drop", "--yes", "--slot", "s1", "--dsn", dsn])
    assert result.exit_code == 3
    assert "cannot drop the slot s1" in result.stderr


def test_missing_database(server: PostgresServer) -> None:
    dsn = psycopg.conninfo.make_conninfo(server.dsn, dbname="nope")
    result = CliRunner().invoke(main, ["slot", "status", "--dsn", dsn])
    assert result.exit_code == 3
