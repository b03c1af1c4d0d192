"""The servers that the benchmarks run against, and what PostgreSQL's log tells about its clients."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from ditto.testing.programs import hand_over, postgres_account
from ditto.testing.servers import PostgresServer

SETTINGS: Final = {
    # The WAL is written before anything is measured: quickly, and with nothing else in it.
    "fsync": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "32GB",
    "shared_buffers": "256MB",
    # When a client starts to read, and when it is gone.
    "log_replication_commands": "on",
    "log_disconnections": "on",
    "log_line_prefix": "%n %p ",
}
_DEBIAN: Final = Path("/usr/lib/postgresql")
_LOG_DEADLINE_S: Final = 30.0


class Transport(NamedTuple):
    """How clients reach a server."""

    name: str
    server: PostgresServer
    dsn: str


@contextmanager
def embedded() -> Iterator[PostgresServer]:
    """PostgreSQL from the wheel, for TCP and the Unix socket: its programs know no TLS."""
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-") as folder,
        PostgresServer(Path(folder), settings=SETTINGS) as server,
    ):
        yield server


def installed_bin_dir() -> Path | None:
    """The programs of the newest PostgreSQL from Debian's packages, which knows TLS; None where there is none."""
    found = [
        path for path in _DEBIAN.glob("*/bin") if (path / "postgres").exists() and (path / "pg_recvlogical").exists()
    ]
    return max(found, key=lambda path: int(path.parent.name), default=None)


@contextmanager
def with_tls(bin_dir: Path) -> Iterator[PostgresServer]:
    """An installed PostgreSQL with a certificate of its own making."""
    account = postgres_account()
    keys = hand_over(Path(tempfile.mkdtemp(prefix="ditto-bench-tls-", dir="/tmp")), account)
    try:
        certificate, key = keys / "server.crt", keys / "server.key"
        subject = ["-subj", "/CN=localhost", "-days", "2"]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-out", certificate, "-keyout", key],
            check=True,
            capture_output=True,
        )
        key.chmod(0o600)
        for file in (certificate, key):
            hand_over(file, account)
        settings = SETTINGS | {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
        with (
            tempfile.TemporaryDirectory(prefix="ditto-bench-") as folder,
            PostgresServer(Path(folder), settings=settings, bin_dir=bin_dir) as server,
        ):
            yield server
    finally:
        shutil.rmtree(keys, ignore_errors=True)


class ReplicationLog:
    """Follows the server's log from now on. Its times are those of the server's clock, in seconds since 1970."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size

    async def started(self, slot: str) -> tuple[float, int]:
        """When the server got START_REPLICATION for this slot, and the process id of the walsender."""
        command = rb"replication command: START_REPLICATION SLOT \"?%b\"? " % slot.encode()
        found = await self._wait_for(re.compile(rb"^([0-9.]+) ([0-9]+) .*" + command, re.MULTILINE))
        return float(found[1]), int(found[2])

    async def ended(self, pid: int) -> float:
        """When the client of this walsender disconnected."""
        found = await self._wait_for(re.compile(rb"^([0-9.]+) %d .*disconnection: " % pid, re.MULTILINE))
        return float(found[1])

    async def _wait_for(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        deadline = time.monotonic() + _LOG_DEADLINE_S
        while True:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                found = pattern.search(log.read())
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing in PostgreSQL's log matches {pattern.pattern!r}")
            await asyncio.sleep(0.002)
