"""PgBouncer before PostgreSQL: Ditto says that it cannot work through a pooler, and what to do."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e.process import eventually
from psycopg import pq

from ditto.errors import ServerUnsuitable
from ditto.source.connection import connect
from ditto.testing.process import ServerProcess
from ditto.testing.servers import PostgresServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("pg"), settings={"fsync": "off"}) as running:
        yield running


@contextmanager
def pgbouncer(server: PostgresServer, setting: str, folder: Path) -> Iterator[int]:
    """PgBouncer before the server; its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed here")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    settings = (
        f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n{setting}\n"
    )
    as_nobody = ["-u", "nobody"] if os.getuid() == 0 else []  # it refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        file = Path(name, "pgbouncer.ini")
        file.write_text(settings)
        process = ServerProcess(
            [program, *as_nobody, file],
            name="PgBouncer",
            log_path=folder / "log",
            last_signal=signal.SIGKILL,
            env=dict(os.environ),
        )
        try:
            yield port
        finally:
            process.end(signal.SIGTERM)


@pytest.mark.parametrize("is_replication", [False, True])
@pytest.mark.parametrize("setting", ["", "ignore_startup_parameters = options,extra_float_digits"])
async def test_a_pooler_is_named(server: PostgresServer, tmp_path: Path, setting: str, is_replication: bool) -> None:
    with pgbouncer(server, setting, tmp_path) as port:
        address = f"host=127.0.0.1 port={port}".encode()
        await eventually(lambda: pq.PGconn.ping(address) == pq.Ping.OK, "PgBouncer answers")
        with pytest.raises(ServerUnsuitable) as caught:
            await connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", is_replication=is_replication)
    assert "PgBouncer" in (caught.value.hint or "")
    assert "PostgreSQL itself" in (caught.value.hint or "")
