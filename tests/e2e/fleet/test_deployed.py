"""A node as systemd, Kubernetes and a container engine see it: notifications, probes, the heartbeat, the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from ditto.testing.process import free_port
from e2e.fleet.fleet import NodeProcess
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.testing.servers import NatsServer


class Deployed:
    """A node under a service manager that listens, with the probes of deploy/."""

    def __init__(self, control_plane: NatsServer, folder: Path, channel: socket.socket, notify: str) -> None:
        listen = f"127.0.0.1:{free_port()}"
        self._health = {"DITTO_HEALTH_FILE": str(folder / "health")}
        self._channel = channel
        self._heard: list[str] = []
        self._client = httpx.Client(base_url=f"http://{listen}", trust_env=False)
        self.node = NodeProcess(
            "n1",
            folder / "n1.log",
            {
                "DITTO_NATS_URL": control_plane.url,
                "DITTO_HTTP_LISTEN": listen,
                "DITTO_WORKERS": "1",
                "NOTIFY_SOCKET": notify,
                "WATCHDOG_USEC": "500000",
                **self._health,
            },
        )

    def hears(self, line: str) -> bool:
        """Whether it has sent that. To be called often: the socket holds ten messages."""
        try:
            while True:
                self._heard.extend(self._channel.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return line in self._heard

    def answers(self, path: str) -> int:
        """The status of the answer to a probe, which has no token; 0 where nothing answers."""
        self.hears("")
        try:
            return self._client.get(path).status_code
        except httpx.TransportError:
            return 0

    def health(self) -> str:
        """The health check of the image."""
        command = [sys.executable, "-m", "ditto", "health"]
        done = subprocess.run(command, env={**os.environ, **self._health}, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def close(self) -> None:
        self.node.kill()
        self._client.close()


@pytest.fixture
def deployed(control_plane: NatsServer, tmp_path: Path) -> Iterator[Deployed]:
    """Begun while the control plane is away."""
    control_plane.stop()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        name = str(Path(folder, "notify"))
        channel.bind(name)
        channel.setblocking(False)
        made = Deployed(control_plane, tmp_path, channel, name)
        try:
            yield made
        finally:
            made.close()


async def test_a_node_lives_without_the_control_plane_and_is_ready_with_it(
    deployed: Deployed, control_plane: NatsServer
) -> None:
    await eventually(lambda: deployed.answers("/healthz") == 200, "it lives")
    await eventually(lambda: deployed.hears("WATCHDOG=1"), "it feeds the watchdog")
    assert deployed.answers("/readyz") == 503
    assert not deployed.hears("READY=1")

    control_plane.start()
    await eventually(lambda: deployed.answers("/readyz") == 200, "it is ready")
    await eventually(lambda: deployed.hears("READY=1"), "systemd knows that it is ready")
    await eventually(lambda: deployed.health() == "live", "the image's health check says so")

    control_plane.stop()
    await eventually(lambda: deployed.answers("/readyz") == 503, "it is left out of the Service")
    assert deployed.answers("/healthz") == 200
    assert deployed.node.is_running

    control_plane.start()
    await eventually(lambda: deployed.answers("/readyz") == 200, "it is ready again")
    assert not deployed.hears("STOPPING=1")
    deployed.node.send(signal.SIGTERM)
    await eventually(lambda: deployed.hears("STOPPING=1"), "systemd knows that it stops")
    assert await deployed.node.ended() == 0
