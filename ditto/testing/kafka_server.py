"""An Apache Kafka broker in KRaft mode on free loopback ports, from its Maven artifacts.

The jars, and a formatted data folder that is copied for each broker, are kept below the virtual environment: the first
run fetches 44 MB.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ditto.errors import DittoError
from ditto.testing.own_server import OwnServer
from ditto.testing.process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = "4.1.1"
_KEPT: Final = Path(sys.prefix, ".java", f"kafka-{VERSION}")
_MAVEN_TIMEOUT_S: Final = 500
_CLUSTER_ID: Final = "ZGl0dG8tdGVzdHMta2Fma2E"
_JAVA: Final = (
    "java",
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
_API_VERSIONS: Final = b"\0\0\0\x0a" + b"\0\x12" + b"\0\0" + b"\0\0\0\1" + b"\xff\xff"
"""Length, key, version, correlation id, no client id."""
_POM: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ditto</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


class KafkaServer(OwnServer):
    """Around a folder; its data and its ports are the same after a restart.

    `settings` are lines of its configuration, in which `{port}` is that of the listener PLAINTEXT. `listeners` are
    others, by name: their protocols; `ports` has the ports of all. `advertised` has the ports of proxies in front of
    listeners.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        advertised: Mapping[str, int] | None = None,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__((ports or {}).get("PLAINTEXT"))
        self.folder = folder
        self.settings = dict(settings or {})
        self._listeners = {"PLAINTEXT": "PLAINTEXT", **(listeners or {})}
        self._advertised = dict(advertised or {})
        self._given_ports = dict(ports or {})
        self.ports: dict[str, int] = {}

    @property
    def brokers(self) -> str:
        """Of the listener without TLS and SASL."""
        return f"127.0.0.1:{self.ports['PLAINTEXT']}"

    def start(self) -> Self:
        """Start it, and return when it answers."""
        data = self.folder / "data"
        if not data.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.copytree(_prepared() / "formatted", data)
        return super().start()

    def _launch(self, port: int) -> ServerProcess:
        listeners = {**self._listeners, "CONTROLLER": "PLAINTEXT"}
        if self._port is None:
            self.ports = self._given_ports  # not those of an attempt that found one of them taken
        self.ports = ports = {name: self.ports.get(name) or free_port() for name in listeners} | {"PLAINTEXT": port}
        addresses = {name: f"{name}://127.0.0.1:{ports[name]}" for name in listeners}
        given = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(
                f"{name}://127.0.0.1:{self._advertised.get(name, ports[name])}" for name in self._listeners
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in listeners.items()),
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "num.partitions": "3",
        } | {name: value.format(port=ports["PLAINTEXT"]) for name, value in self.settings.items()}
        config = self.folder / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        return ServerProcess(
            [*_JAVA, "-cp", f"{_prepared()}/lib/*", "kafka.Kafka", config],
            name="kafka",
            log_path=self.folder / "kafka.log",
            last_signal=signal.SIGKILL,
        )

    def close(self) -> None:
        """Kill it: nothing that it has is needed any more."""
        if self._process is not None:
            self.kill()

    def _is_ready(self, port: int) -> bool:
        """It says which requests it knows."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(_API_VERSIONS)
                return bool(connection.recv(4))
        except OSError:
            return False


def _prepared() -> Path:
    """The folder with the jars in `lib`, and a data folder in `formatted`."""
    if _KEPT.exists():
        return _KEPT
    _KEPT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_KEPT.parent) as name:
        made = Path(name, "made")
        made.mkdir()
        pom = Path(name, "pom.xml")
        pom.write_text(_POM)
        _run(["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={made}/lib", "-f", str(pom)])
        config = Path(name, "server.properties")
        config.write_text(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:1\n"
            "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:1\ncontroller.listener.names=CONTROLLER\n"
            f"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={made}/formatted\n"
        )
        tool = [*_JAVA, "-cp", f"{made}/lib/*", "kafka.tools.StorageTool"]
        _run([*tool, "format", "-t", _CLUSTER_ID, "-c", str(config)])
        try:
            made.rename(_KEPT)
        except OSError:  # another process was faster
            shutil.rmtree(made)
    return _KEPT


def _run(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_MAVEN_TIMEOUT_S)
    if run.returncode:
        raise DittoError(f"{command[0]} failed\n{run.stdout}{run.stderr}")
