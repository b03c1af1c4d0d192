"""A node of the fleet, `ditto serve`, as a process of its own; and the command line that asks the fleet."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import yaml

from ditto.demo.follower import last_errors
from ditto.errors import DittoError
from ditto.testing.process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STOP_TIMEOUT_S = 80


class Node:
    """`ditto serve` with a configuration file and a log in `folder`."""

    def __init__(self, name: str, folder: Path, *, nats_url: str) -> None:
        self.name = name
        self.config_path = folder / f"{name}.yaml"
        self.log_path = folder / f"{name}.log"
        self._address = f"127.0.0.1:{free_port()}"
        self._nats_url = nats_url
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Where API and console are."""
        return f"http://{self._address}"

    @property
    def pid(self) -> int | None:
        """None where it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def start(self) -> None:
        config = {
            "node": self.name,
            "nats": {"url": self._nats_url},
            "http": {"listen": self._address},
            "auth": {"allow_loopback": True},
            "log": {"level": "info", "format": "json"},
        }
        self.config_path.write_text(yaml.safe_dump(config, sort_keys=False))
        self._process = ServerProcess(
            [sys.executable, "-m", "ditto", "serve", "--config", self.config_path],
            name=f"ditto serve of node {self.name}",
            log_path=self.log_path,
            last_signal=signal.SIGKILL,
        )

    def check(self) -> None:
        """Raises DittoError with the end of its log when it has ended by itself."""
        if self._process is not None and not self._process.is_running:
            process, self._process = self._process, None
            raise self._failure("ended", process.end(signal.SIGTERM))

    def stop(self) -> None:
        """Let it hand over or stop its pipelines, and end. Raises DittoError when it does not end as it should."""
        if self._process is not None:
            process, self._process = self._process, None
            if code := process.end(signal.SIGTERM, timeout_s=STOP_TIMEOUT_S):
                raise self._failure("was stopped and did not end well", code)

    def kill(self) -> None:
        """As when its machine loses power."""
        if self._process is not None:
            self._process.end(signal.SIGKILL)
            self._process = None

    def _failure(self, what: str, code: int) -> DittoError:
        reasons = last_errors(self.log_path.read_text())
        return DittoError("\n  ".join([f"node {self.name} {what} (exit code {code})", *reasons]))


async def ask_fleet(command: Sequence[str], *, nodes: Sequence[Node], folder: Path) -> str:
    """The output of `ditto COMMAND` in that folder. Raises DittoError with it when the command fails."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "ditto", *command],
        cwd=folder,
        env={**os.environ, "DITTO_SERVER": ",".join(node.url for node in nodes), "COLUMNS": "120"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = (await process.communicate())[0].decode().rstrip()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise DittoError(f"ditto {' '.join(command)} failed (exit code {process.returncode})\n{output}")
    return output
