"""A server of a test's own: started on a free port, stopped, killed, suspended, and started again where it was."""

from __future__ import annotations

import functools
import signal
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from ditto.errors import DittoError
from ditto.testing.process import free_port

if TYPE_CHECKING:
    from ditto.testing.process import ServerProcess

START_TIMEOUT_S = 60


class OwnServer(ABC):
    """Base class, a plain context manager: what is done with the process, whichever server it is.

    A subclass launches it on a port, and says when it answers. All methods block: in an event loop call those that
    take long with `asyncio.to_thread`.
    """

    def __init__(self, port: int | None) -> None:
        self._port = port
        self._process: ServerProcess | None = None

    @abstractmethod
    def _launch(self, port: int) -> ServerProcess: ...

    @abstractmethod
    def _is_ready(self, port: int) -> bool: ...

    @property
    def port(self) -> int:
        if self._port is None:
            raise RuntimeError("the server has not been started")
        return self._port

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def _check_stopped(self) -> None:
        if self._process is not None:
            raise RuntimeError("the server is running")

    def start(self) -> Self:
        """Start it, on the port that it had or on a free one, and return when it answers.

        Tried again where a passing obstacle may be gone.
        """
        self._check_stopped()
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            port = self._port or free_port()
            process = self._launch(port)
            try:
                process.wait_until(functools.partial(self._is_ready, port), timeout_s=START_TIMEOUT_S)
            except BaseException as error:
                process.end(signal.SIGKILL)
                if not isinstance(error, DittoError) or time.monotonic() > deadline:
                    raise
                output = process.output()
                # Taken between the probe and the start; a port that it had belongs to another process, and stays taken.
                is_port_taken = self._port is None and any(
                    each in output.lower() for each in ("address already in use", "eaddrinuse")
                )
                # After SIGKILL PostgreSQL's backends need a moment to notice that their postmaster is gone.
                is_predecessor_alive = "pre-existing shared memory block" in output
                if not (is_port_taken or is_predecessor_alive):
                    raise
                time.sleep(0.05)
            else:
                self._process, self._port = process, port
                return self

    def stop(self) -> None:
        """Stop a running server, suspended or not; nothing when it is stopped."""
        if self._process is not None:
            self._process.end(signal.SIGTERM)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL."""
        self._running.end(signal.SIGKILL)
        self._process = None

    def pause(self) -> None:
        """Hang: connections stay open, nothing is read or answered any more."""
        self._running.suspend()

    def resume(self) -> None:
        self._running.send(signal.SIGCONT)

    def close(self) -> None:
        """Stop it for good."""
        self.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()
