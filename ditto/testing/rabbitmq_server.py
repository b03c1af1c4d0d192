"""A RabbitMQ node with its plugin for streams, on free loopback ports, from the system's packages.

The node has an epmd of its own, which tells nobody else of it, and a folder for everything that it keeps. Those of a
cluster share an epmd (`rabbitmq_cluster`).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ditto.errors import DittoError
from ditto.testing.own_server import OwnServer
from ditto.testing.process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOOL_TIMEOUT_S: Final = 60
_PLACES: Final = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Of the programs themselves: what Debian has in PATH runs them as the user rabbitmq."""


def rabbitmq_program(name: str = "rabbitmq-server") -> str:
    """Raises DittoError."""
    path = os.pathsep.join([*_PLACES, os.environ.get("PATH", "")])
    if (found := shutil.which(name, path=path)) is not None:
        return found
    raise DittoError(f"there is no {name}", hint="apt-get install rabbitmq-server")


def epmd_process(port: int, folder: Path) -> ServerProcess:
    """Of nodes on this machine, on a port of its own."""
    command = ["epmd", "-port", str(port), "-address", "127.0.0.1"]
    return ServerProcess(command, name="epmd", log_path=folder / "epmd.log", last_signal=signal.SIGKILL)


class RabbitMQServer(OwnServer):
    """Around a folder; its data and its ports are the same after a restart.

    `settings` are lines of its configuration; they may be changed between starts. With `certificates`, those of
    the authority, its own and the key of that, there are listeners for TLS too. Its port is that of streams.
    `epmd_port` is that of an epmd which somebody else runs, for nodes that are to know each other; they have the same
    cookie then.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        certificates: tuple[Path, Path, Path] | None = None,
        epmd_port: int | None = None,
    ) -> None:
        super().__init__(None)
        self._epmd_port = epmd_port
        self.folder = folder
        self.settings = dict(settings or {})
        self._certificates = certificates
        self._ports: dict[str, int] = {}
        self._epmd: ServerProcess | None = None

    @property
    def tls_port(self) -> int:
        """For streams with TLS."""
        return self._ports["stream_tls"]

    @property
    def amqp_port(self) -> int:
        """For AMQP."""
        return self._ports["amqp"]

    @property
    def amqps_port(self) -> int:
        """For AMQP with TLS."""
        return self._ports["amqps"]

    @property
    def url(self) -> str:
        return f"rabbitmq-stream://127.0.0.1:{self.port}"

    @property
    def amqp_url(self) -> str:
        return f"amqp://127.0.0.1:{self.amqp_port}"

    @property
    def node(self) -> str:
        """What it is called among nodes."""
        return f"ditto{self.amqp_port}@localhost"

    def start(self) -> Self:
        """Start it, and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        cookie = self.folder / ".erlang.cookie"
        if self._epmd_port is not None and not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text("DITTO")
        return super().start()

    def _launch(self, port: int) -> ServerProcess:
        if self._port is None:
            self._end_epmd()
            self._ports = {name: free_port() for name in ("amqp", "epmd", "distribution", "stream_tls", "amqps")}
            self._ports["epmd"] = self._epmd_port or self._ports["epmd"]
        folder, ports = self.folder, self._ports
        given = {
            "listeners.tcp.default": f"127.0.0.1:{ports['amqp']}",
            "stream.listeners.tcp.1": f"127.0.0.1:{port}",
            "stream.advertised_host": "127.0.0.1",
            "stream.advertised_port": str(port),
        }
        if (tls := self._certificates) is not None:
            given |= {
                "listeners.ssl.default": f"127.0.0.1:{ports['amqps']}",
                "stream.listeners.ssl.1": f"127.0.0.1:{ports['stream_tls']}",
                "ssl_options.cacertfile": str(tls[0]),
                "ssl_options.certfile": str(tls[1]),
                "ssl_options.keyfile": str(tls[2]),
            }
        given |= self.settings
        (folder / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in given.items()))
        (folder / "enabled_plugins").write_text("[rabbitmq_stream].\n")
        (folder / "env").touch()
        env = self._env()
        if self._epmd is None and self._epmd_port is None:
            self._epmd = epmd_process(ports["epmd"], folder)
        log_path = folder / "rabbitmq.log"
        program = [rabbitmq_program()]
        return ServerProcess(program, name="rabbitmq-server", log_path=log_path, last_signal=signal.SIGKILL, env=env)

    def _is_ready(self, port: int) -> bool:
        """Both listeners: that of AMQP comes last."""
        try:
            for each in (port, self.amqp_port):
                with socket.create_connection(("127.0.0.1", each), timeout=1):
                    pass
        except OSError:
            return False
        return True

    def _env(self) -> dict[str, str]:
        folder, ports = str(self.folder), self._ports
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return mine | {
            "HOME": folder,
            "ERL_EPMD_PORT": str(ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/env",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            # The script becomes the node, as under systemd: a signal reaches it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +S 2:2 +sbwt none",
        }

    def tool(self, *words: str, program: str = "rabbitmqctl") -> str:
        """What one of its command-line tools prints. Raises DittoError where it fails."""
        run = subprocess.run(
            [rabbitmq_program(program), *words],
            env=self._env(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TOOL_TIMEOUT_S,
        )
        if run.returncode:
            raise DittoError(f"{program} {' '.join(words)} failed\n{run.stdout}{run.stderr}")
        return run.stdout

    def shell(self, command: str) -> None:
        """Enter what a hint says, with its command-line tools in the path. Raises DittoError where it fails."""
        env = self._env()
        env["PATH"] = os.pathsep.join([*_PLACES, env.get("PATH", "")])
        run = subprocess.run(
            ["sh", "-c", command], env=env, capture_output=True, text=True, check=False, timeout=_TOOL_TIMEOUT_S
        )
        if run.returncode:
            raise DittoError(f"{command} failed\n{run.stdout}{run.stderr}")

    def stop(self) -> None:
        """Stop a running server; nothing when it is stopped."""
        super().stop()
        self._end_epmd()

    def kill(self) -> None:
        """SIGKILL."""
        super().kill()
        self._end_epmd()

    def close(self) -> None:
        """Nothing that it has is needed any more."""
        if self._process is not None:
            self.kill()
        self._end_epmd()

    def _end_epmd(self) -> None:
        if self._epmd is not None:
            self._epmd.end(signal.SIGKILL)
            self._epmd = None
