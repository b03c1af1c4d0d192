"""A server process that never outlives the program that started it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from ditto.errors import DittoError
from ditto.testing.programs import as_account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ditto.testing.programs import Account

# Below the range from which Linux and macOS take the ports of outgoing connections: a server that
# restarts must not find its port in use by a client of another one.
PORTS = range(15_000, 32_000)

# Blocks until the starter says that all is well, or until its end of the pipe closes: then it died.
GUARD = """
read -r _ && exit
kill -s "$0" "$1"
[ "$2" ] || exit
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
rm -rf "$2"
"""


def free_port() -> int:
    """A loopback TCP port that no process listens on now. Another process may still take it: be ready to retry."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise DittoError("no free TCP port on 127.0.0.1", hint=f"200 ports in {PORTS.start}-{PORTS.stop} were in use")


class ServerProcess:
    """Runs `command` in a session of its own, so that Ctrl-C reaches only the program that started it.

    Its output is appended to `log_path`. A small guard process ends it with `last_signal`, and removes
    the folder `scratch`, when this program dies without ending it, by SIGKILL too.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        name: str,
        log_path: Path,
        last_signal: signal.Signals,
        env: Mapping[str, str] | None = None,
        account: Account | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._name = name
        self._log_path = log_path
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                # The current folder may be closed to that account.
                cwd=None if account is None else "/",
                **as_account(account),
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, last_signal.name.removeprefix("SIG"), str(self.pid), scratch or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """The output of this process, not of an earlier one with the same log."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Poll until the server is ready. Raises DittoError with the end of its log when it exits or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_running:
                raise self._failure(f"{self._name} did not start (exit code {self._process.returncode})")
            if time.monotonic() > deadline:
                raise self._failure(f"{self._name} was not ready within {timeout_s:.0f} s")
            time.sleep(0.01)

    def _failure(self, message: str) -> DittoError:
        lines = self.output().splitlines()[-15:]
        return DittoError("\n  ".join([message, *lines]))

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def suspend(self) -> None:
        """Send SIGSTOP, and wait until each thread has stopped: on a busy machine one may go on for a while."""
        self.send(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def end(self, number: signal.Signals, *, timeout_s: float = 30) -> int:
        """Send `number` and wait for the end; SIGKILL after `timeout_s`. Returns the exit code."""
        self.send(number)
        self.send(signal.SIGCONT)  # a stopped process would not act on anything but SIGKILL
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            # An interrupted wait leaves the process to its guard.
            if not self.is_running and self._guard.poll() is None:
                self._guard.communicate(b"\n")
