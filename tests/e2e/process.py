"""`ditto run` as a process, with what it logs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import ditto
from ditto.testing.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.02


async def eventually(is_so: Callable[[], bool], what: str, *, timeout_s: float = 20) -> None:
    """Poll until `is_so`; fails with `what` after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(POLL_S)


class DittoProcess:
    """One `ditto run`. `settings` are environment variables."""

    def __init__(self, log_path: Path, settings: dict[str, str], *, command: str = "run") -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))
        }
        root = Path(ditto.__file__).parent.parent
        self._process = ServerProcess(
            [sys.executable, "-m", "ditto", command, "--log-format", "json"],
            name="ditto",
            log_path=log_path,
            last_signal=signal.SIGKILL,
            env={**inherited, "PYTHONPATH": str(root), **settings},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    @property
    def output(self) -> str:
        return self._process.output()

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def logs(self, event: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """The log events so far, of that name and with these fields."""
        found: list[dict[str, Any]] = [
            json.loads(line) for line in self.output.splitlines() if line.startswith("{") and line.endswith("}")
        ]
        return [
            entry
            for entry in found
            if event in {None, entry["event"]} and all(entry.get(name) == value for name, value in fields.items())
        ]

    async def logged(self, event: str, *, count: int = 1, timeout_s: float = 20, **fields: object) -> dict[str, Any]:
        """Wait until that event was logged `count` times; fails at once when the process ends before."""
        deadline = time.monotonic() + timeout_s
        while True:
            has_ended = not self.is_running
            found = self.logs(event, **fields)
            if len(found) >= count:
                return found[count - 1]
            assert not has_ended, f"ended before it logged {event} {fields}:\n{self.output}"
            assert time.monotonic() < deadline, f"no {event} {fields} within {timeout_s:g} s:\n{self.output}"
            await asyncio.sleep(POLL_S)

    async def streaming(self, *, count: int = 1, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until it streams, for the `count`-th time."""
        return await self.logged("pipeline.streaming", count=count, timeout_s=timeout_s)

    def send(self, number: signal.Signals) -> None:
        self._process.send(number)

    async def ended(self, *, timeout_s: float = 20) -> int:
        """Wait for the end; returns the exit code."""
        deadline = time.monotonic() + timeout_s
        while self.is_running:
            assert time.monotonic() < deadline, f"still running after {timeout_s:g} s:\n{self.output}"
            await asyncio.sleep(POLL_S)
        code = self._process._process.returncode
        assert code is not None, "it has ended"
        self._process.end(signal.SIGKILL)  # the guard goes too
        return code

    async def stop(self, *, timeout_s: float = 20) -> int:
        """SIGTERM, and wait; returns the exit code."""
        self.send(signal.SIGTERM)
        return await self.ended(timeout_s=timeout_s)

    def kill(self) -> None:
        """SIGKILL, whatever state it is in; returns when it is gone."""
        self._process.end(signal.SIGKILL)

    def sentence(self) -> str:
        """What it said at its end: one event at level error with a sentence and a hint, never a traceback."""
        lines = self.output.splitlines()
        assert not any("Traceback" in line or line.startswith("ditto: error: ") for line in lines), self.output
        (last,) = self.logs("run.failed")
        assert json.loads(lines[-1]) == last, "it is the last line"
        assert last["level"] == "error"
        return f"{last['error']}\n  hint: {last['hint']}" if last["hint"] else str(last["error"])
