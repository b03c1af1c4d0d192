"""Ditto's errors of what the server answers, and of what becomes of the connection."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final

from ditto.errors import (
    AckTimeout,
    LoginDenied,
    NotNow,
    PublishRejected,
    SinkError,
    SinkLost,
    StreamNotFound,
    StreamUnusable,
)

if TYPE_CHECKING:
    from ditto.sinks.rabbitmq.access import Access, Right
    from ditto.sinks.rabbitmq.server import Address

OK: Final = 1
NO_STREAM: Final = 2
STREAM_EXISTS: Final = 5
NOT_AVAILABLE: Final = 6
_LOGIN: Final = frozenset({7, 8, 9, 10})
_LOOPBACK: Final = 11
_VIRTUAL_HOST: Final = 12
DENIED: Final = 16
PRECONDITION: Final = 17

_NAMES: Final = {
    13: "the server does not know that request",
    14: "the frame is too large",
    15: "the server failed (internal error)",
    18: "the publisher is gone",
}
_UNREACHED: Final = (
    "is the server running there with its plugin for streams (rabbitmq-plugins enable rabbitmq_stream), and is it "
    "reached? See rabbitmq.url: streams have a port of their own, 5552, or 5551 with TLS"
)


def refused(code: int, where: str, doing: str, *, access: Access, stream: str = "", right: Right = "read") -> SinkError:
    """The error for an answer that is not OK; `right` is the one that was needed."""
    begin = f"{where}: cannot {doing}"
    context = {"stream": stream} if stream else {}
    if code == NO_STREAM:
        return StreamNotFound(
            f"{begin}: the stream does not exist",
            hint="let Ditto create it (rabbitmq.stream.create), or create it: a queue of type stream",
            **context,
        )
    if code == NOT_AVAILABLE:
        return NotNow(
            f"{begin}: the stream is not available",
            hint="the stream has no leader: see the nodes of the cluster (rabbitmq-streams stream_status). Ditto goes "
            "on by itself",
            **context,
        )
    if code == DENIED:
        return access.denied(begin, right, f"stream {stream}", **context)
    if code == PRECONDITION:
        return StreamUnusable(
            f"{begin}: the server refuses the request (precondition failed)",
            hint="is there a queue of that name that is no stream, or a stream with other settings? Give Ditto another "
            "rabbitmq.stream.name",
            **context,
        )
    reason = _NAMES.get(code, f"the server answers with code {code}")
    if code == 15:
        return NotNow(f"{begin}: {reason}", hint="see the server's log; Ditto tries again", **context)
    return PublishRejected(f"{begin}: {reason}", hint="see the server's log", **context)


def login_refused(code: int, where: str, access: Access) -> SinkError:
    """The error for an answer to the login, or to the opening of the virtual host."""
    user = access.user
    if code == _LOOPBACK:
        return LoginDenied(
            f"{where}: user {user} may connect from the server's own machine only",
            hint="create a user for Ditto (rabbitmqctl add_user), and give rabbitmq.user and rabbitmq.password",
        )
    if code in _LOGIN:
        return LoginDenied(
            f"{where}: the server refuses user {user} or the password",
            hint="check rabbitmq.user and rabbitmq.password; rabbitmqctl authenticate_user tries them",
        )
    if code == _VIRTUAL_HOST:
        return access.shut_out(where)
    return refused(code, where, "log in", access=access)


def unreachable(error: BaseException, address: Address, *, hint: str = _UNREACHED) -> SinkError:
    """The error for a connection that could not be made, or ended."""
    where = str(address)
    if isinstance(error, ssl.SSLError):
        return LoginDenied(f"TLS with {where} failed: {_words(error)}", hint=_tls_hint(error))
    return SinkLost(f"{where}: {_words(error)}", hint=hint)


def silent(where: str, timeout_s: float, doing: str) -> AckTimeout:
    """The server has not answered for too long."""
    return AckTimeout(
        f"{where} has not answered for {timeout_s:g} s (to {doing})",
        hint="see the server's log, load and disk: while an alarm is on (rabbitmq-diagnostics alarms), it reads "
        "nothing from publishers. Ditto tries again",
    )


def alarm(where: str, of: str) -> NotNow:
    """The server takes nothing from publishers, because it has too little `of`."""
    return NotNow(
        f"{where} blocks publishers: its alarm for {of} is on",
        hint="rabbitmq-diagnostics alarms names the node: make room there, or change its limit (disk_free_limit, "
        "vm_memory_high_watermark). Ditto goes on by itself",
    )


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, EOFError):
        return "the server has closed the connection"
    if isinstance(error, ConnectionResetError):
        return os.strerror(errno.ECONNRESET)
    if isinstance(error.__cause__, OSError | EOFError) and error.__cause__ is not error:
        return _words(error.__cause__)  # aiormq puts the repr of that into its own words
    return str(error) or type(error).__name__


def _tls_hint(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "rabbitmq.tls.ca names the file of the authority that signs the server's certificate (the system's, if it "
            "is absent), and rabbitmq.url has to hold a name that it contains"
        )
    return (
        "does that port do TLS (5551 and 5671 usually do, 5552 and 5672 do not)? Check rabbitmq.tls.cert and "
        "rabbitmq.tls.key: the server may want a certificate from the client (ssl_options.fail_if_no_peer_cert)"
    )
