"""A receiver of webhooks for tests and benchmarks: it keeps what it takes in a file, and fails as it is asked to.

In a thread of the program that uses it, or as a process of its own that can be killed:
`python -m ditto.testing.webhook_receiver PORT FILE`.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Self

from ditto.testing.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

_END: Final = b"\r\n\r\n"
_RESET: Final = struct.pack("ii", 1, 0)
_JOIN_TIMEOUT_S: Final = 10.0


class Answer(NamedTuple):
    """What becomes of one request. By default it is taken, and answered with 200."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 -- nobody changes it
    wait_s: float = 0.0
    """Before it is answered."""
    is_taken: bool | None = None
    """It is stored. By default where the status is 2xx."""
    is_cut: bool = False
    """The connection is reset in place of an answer."""
    read_bytes: int | None = None
    """So much of the body is read, and then the connection is reset."""
    body: bytes = b""
    raw: bytes | None = None
    """In place of an HTTP answer."""


class Taken(NamedTuple):
    """A request that was taken."""

    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Receiver:
    """Listens on `port` of 127.0.0.1 while the block lasts, with a thread for each connection.

    `script` is what becomes of the next requests, `usual` of all others.
    """

    def __init__(
        self, file: Path, *, port: int | None = None, tls: ssl.SSLContext | None = None, keeps_bodies: bool = True
    ) -> None:
        self.file = file
        _end_with_a_line(file)
        self.port = port or free_port()
        self.script: deque[Answer] = deque()
        self.usual = Answer()
        self.requests: list[dict[str, str]] = []
        """The headers of all requests that came, taken or not; `:path` is the target, `:at` monotonic seconds."""
        self.connections = 0
        self.most_at_once = 0
        """Requests."""
        self.events = 0
        """Counted where bodies are not kept."""
        self._tls = tls
        self._keeps_bodies = keeps_bodies
        self._at_once = 0
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/events"

    def taken(self) -> list[Taken]:
        return read_taken(self.file)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends accept()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT_S)
        self._listener.close()

    def wait(self) -> None:
        """Until the process is killed."""
        self._has_ended.wait()

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._open.add(connection)
                has_ended = self._has_ended.is_set()
            if has_ended:
                connection.close()
                return
            self._start(self._serve, connection)

    def _serve(self, plain: socket.socket) -> None:
        connection = plain
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(plain, server_side=True)  # `plain` has no socket any more
                with self._lock:
                    self._open.add(connection)
                if self._has_ended.is_set():
                    return
            with connection.makefile("rb") as stream:
                while self._request(stream, connection):
                    pass
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # close() resets it
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {plain, connection}
            connection.close()
            plain.close()

    def _request(self, stream: BinaryIO, connection: socket.socket) -> bool:
        head = b""
        while not head.endswith(_END):
            line = stream.readline()
            if not line:
                return False
            head += line
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        headers[":path"], headers[":at"] = first.split(" ")[1], str(time.monotonic())
        with self._lock:
            self.requests.append(headers)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            answer = self.script.popleft() if self.script else self.usual
        try:
            if answer.read_bytes is not None:
                stream.read(answer.read_bytes)
                return False
            length = int(headers["content-length"])
            if len(body := stream.read(length)) < length:
                return False
            if answer.is_taken or (answer.is_taken is None and 200 <= answer.status < 300):
                self._store(headers, body)
            self._has_ended.wait(answer.wait_s)
        finally:
            with self._lock:
                self._at_once -= 1
        if answer.is_cut:
            return False
        words = [f"HTTP/1.1 {answer.status} x", f"Content-Length: {len(answer.body)}"]
        words += [f"{name}: {value}" for name, value in answer.headers.items()]
        connection.sendall(answer.raw or "\r\n".join([*words, "", ""]).encode() + answer.body)
        return answer.raw is None

    def _store(self, headers: dict[str, str], body: bytes) -> None:
        with self._lock:
            if not self._keeps_bodies:
                self.events += body.count(b'{"id":"')
                return
            with self.file.open("ab") as file:
                file.write(json.dumps([headers, b64encode(body).decode()]).encode() + b"\n")


def _end_with_a_line(file: Path) -> None:
    """A receiver that was killed may have written a part of its last line."""
    if file.exists():
        with file.open("r+b") as lines:
            lines.truncate(lines.read().rfind(b"\n") + 1)


def read_taken(file: Path) -> list[Taken]:
    """The requests that a receiver has taken, in their order."""
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [Taken(headers, b64decode(body)) for headers, body in map(json.loads, lines)]


if __name__ == "__main__":
    with suppress(KeyboardInterrupt), Receiver(Path(sys.argv[2]), port=int(sys.argv[1])) as receiver:
        receiver.wait()
