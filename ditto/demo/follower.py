"""The real pipeline, `ditto run`, as a process of its own."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING

import yaml

from ditto.errors import DittoError
from ditto.testing.process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

STREAM = "DITTO"
SLOT = "ditto"
PUBLICATION = "ditto"
PREFIX = "ditto"


class Follower:
    """`ditto run` with a configuration file and a log in `folder`."""

    def __init__(self, folder: Path, *, dsn: str, nats_url: str) -> None:
        self.config_path = folder / "ditto.yaml"
        self.log_path = folder / "ditto.log"
        self._config = {
            "postgres": {"dsn": dsn, "slot": SLOT, "publication": PUBLICATION},
            "nats": {"url": nats_url, "stream": STREAM},
            "events": {"prefix": PREFIX},
            "snapshot": {"mode": "initial"},
            "log": {"level": "info", "format": "json"},
        }
        self._process: ServerProcess | None = None

    def start(self) -> None:
        self.config_path.write_text(yaml.safe_dump(self._config, sort_keys=False))
        self._process = ServerProcess(
            [sys.executable, "-m", "ditto", "run", "--config", self.config_path],
            name="ditto run",
            log_path=self.log_path,
            last_signal=signal.SIGKILL,
        )

    def check(self) -> None:
        """Raises DittoError with the end of its log when it has ended by itself."""
        if self._process is not None and not self._process.is_running:
            raise self._failure("ditto run ended", self._process.end(signal.SIGTERM))

    def stop(self) -> None:
        """Stop it, after it has stored what is outstanding. Raises DittoError when it does not end as it should."""
        if self._process is not None:
            process, self._process = self._process, None
            if code := process.end(signal.SIGTERM, timeout_s=40):
                raise self._failure("ditto run was stopped and did not end well", code)

    def kill(self) -> None:
        if self._process is not None:
            self._process.end(signal.SIGKILL)
            self._process = None

    def _failure(self, message: str, code: int) -> DittoError:
        reasons = last_errors(self.log_path.read_text())
        return DittoError("\n  ".join([f"{message} (exit code {code})", *reasons]))


def last_errors(log: str) -> list[str]:
    """The reason of its end in a log of `ditto run`: the final message, or the newest line of any kind."""
    lines = [line for line in log.splitlines() if line.strip()]
    for start, line in enumerate(lines):
        if line.startswith("ditto: error:"):
            return lines[start:]
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("level") in {"error", "critical"}:
            return [line]
    return lines[-1:]
