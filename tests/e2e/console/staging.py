"""Starts a node with made-up figures in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ditto
from ditto.testing.process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def stage(folder: Path, *arguments: str, name: str = "stage") -> Iterator[int]:
    """A node of that module, whose pages are in a process of their own."""
    port = free_port()
    top = Path(ditto.__file__).parent.parent
    process = ServerProcess(
        [sys.executable, "-m", f"e2e.console.{name}", str(port), *arguments],
        name="stage",
        log_path=folder / "log",
        last_signal=signal.SIGKILL,
        env={**os.environ, "PYTHONPATH": f"{top}:{top / 'tests'}"},
    )
    try:
        process.wait_until(lambda: _answers(port), timeout_s=60)
        yield port
    finally:
        process.end(signal.SIGKILL)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
