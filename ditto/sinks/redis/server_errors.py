"""Ditto's errors of what the server answers, and of what becomes of the connection."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from redis import exceptions

from ditto.errors import (
    AnswerUnreadable,
    ChainBroken,
    LoginDenied,
    NotNow,
    PublishRejected,
    RedisUnsuitable,
    SinkError,
    SinkLost,
    StreamUnusable,
)

if TYPE_CHECKING:
    from ditto.sinks.redis.access import Access

_CODE: Final = re.compile(r"(?:-)?([A-Z][A-Z0-9]+)\b")
_UNREACHED: Final = (
    "is the server running there, and is it reached? See redis.url: redis:// where the port does no TLS, rediss:// "
    "where it does"
)
_KEY: Final = re.compile(r" \[key (.*)\]$")
_SCRIPT: Final = re.compile(r"(?: script: [0-9a-f]{40}, on .*$)|(?:user_script:\d+: )")

_NOT_NOW: Final = {
    "OOM": (
        "the server's memory is full (maxmemory)",
        "raise maxmemory, remove entries (redis.max_length, XTRIM), or let the server have more memory: Ditto goes on "
        "by itself",
    ),
    "LOADING": ("the server is loading its data", "wait: Ditto goes on by itself"),
    "BUSY": ("a script of somebody else's keeps the server busy", "SCRIPT KILL ends it"),
    "MISCONF": (
        "the server cannot save its data to the disk, and takes no writes",
        "look at its log and its disk, or set stop-writes-on-bgsave-error",
    ),
    "NOREPLICAS": ("too few replicas are connected (min-replicas-to-write)", "let replicas connect again"),
    "MASTERDOWN": ("the server is a replica without its master", "give the address of the master in redis.url"),
    "CLUSTERDOWN": ("the cluster is down, or does not serve the keys' slot", "look at CLUSTER INFO"),
    "TRYAGAIN": ("the keys' slot is being moved to another node", "wait: Ditto goes on by itself"),
    "NOSCRIPT": ("the server has forgotten Ditto's scripts (SCRIPT FLUSH, or a restart)", "Ditto loads them again"),
}
_LOST: Final = {
    "READONLY": (
        "the server is a replica, and takes no writes",
        "after a failover nothing is to be done where redis.url leads to the new master; otherwise give its address",
    ),
    "MOVED": ("the keys' slot is on another node of the cluster", "Ditto asks the cluster again"),
    "ASK": ("the keys' slot is being moved to another node", "wait: Ditto goes on by itself"),
    "UNBLOCKED": ("the server became a replica", "after a failover Ditto goes on by itself"),
}


def code_of(error: exceptions.RedisError) -> str:
    """The word by which an error answer begins."""
    if error.status_code:
        return error.status_code
    found = _CODE.match(str(error))
    return found[1] if found else ""


def answered(
    error: exceptions.RedisError,
    where: str,
    doing: str,
    *,
    access: Access | None,
    keys: Sequence[str] = (),
    user: str = "default",
) -> SinkError:
    """The error for an error answer to a command for `keys`; no row value is in one of the server's. `access` is None
    before Ditto has logged in, as `user`.
    """
    code, text = code_of(error), _SCRIPT.sub("", str(error))
    begin = f"{where}: cannot {doing}"
    if code in _NOT_NOW:
        reason, hint = _NOT_NOW[code]
        return NotNow(f"{begin}: {reason}", hint=hint)
    if code in _LOST:
        reason, hint = _LOST[code]
        return SinkLost(f"{begin}: {reason}", hint=hint)
    if code == "DITTOFENCED":
        return ChainBroken(
            f"{begin}: another session has opened the streams, or their state is gone",
            hint="let no other Ditto write to the same keys; during a takeover this is how the former holder is "
            "fenced. If somebody deleted Ditto's key (FLUSHDB, DEL), restore it",
        )
    key = found[1] if (found := _KEY.search(text)) else ""
    if access is not None and (code == "NOPERM" or "The user executing the script can't" in text):
        return access.denied(begin, text, [key] if key else keys, is_of_entry=bool(key))
    if isinstance(error, exceptions.AuthenticationError) or code in {"NOAUTH", "WRONGPASS"}:
        return LoginDenied(
            f"{where}: the server refuses user {user if access is None else access.user} or the password"
            if code != "NOAUTH"
            else f"{where}: the server asks for a password",
            hint="check redis.user and redis.password; without redis.user the password is that of the user default",
        )
    if code == "WRONGTYPE":
        return StreamUnusable(
            f"{begin}: key {key} holds something else than a stream" if key else f"{begin}: a key has another type",
            hint="delete or rename that key, or give Ditto keys of its own: redis.key_prefix or events.prefix",
        )
    if "equal or smaller than the target stream top item" in text:
        return StreamUnusable(
            f"{begin}: stream {key} has an entry with this id, or a newer one, of which Ditto's state does not know",
            hint="was Ditto's state restored from an older backup than the stream? Restore both from one. Did another "
            "program write to the stream? Delete it, or give Ditto keys of its own: redis.key_prefix or events.prefix",
        )
    if code == "CROSSSLOT" or "CROSSSLOT" in text:
        return RedisUnsuitable(
            f"{begin}: on a cluster, the keys have to be in one slot",
            hint='give them a hash tag: redis.key_prefix: "{shop}:"',
        )
    if code == "ERR" and "unknown command" in text:
        return RedisUnsuitable(f"{begin}: {text}", hint="Redis 7 or Valkey 7.2 is the oldest that has all commands")
    return PublishRejected(f"{begin}: {text}", hint="the server's own words; its log may have more")


def unreachable(error: BaseException, where: str, *, user: str = "default") -> SinkError:
    """The error for a connection that could not be made as `user`, or ended."""
    if isinstance(error, exceptions.RedisError) and not is_unanswered(error):
        return answered(error, where, "connect", access=None, user=user)
    if isinstance(error, exceptions.InvalidResponse):
        return AnswerUnreadable(f"{where} answers with something else than RESP", hint="is that a Redis server?")
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        return LoginDenied(f"TLS with {where} failed: {_words(cause)}", hint=_tls_hint(cause))
    return SinkLost(f"{where}: {_words(cause)}", hint=_UNREACHED)


def is_unanswered(error: BaseException) -> bool:
    """Nothing came from the server that is an answer by its protocol."""
    is_answer = isinstance(error, exceptions.AuthenticationError | exceptions.ResponseError)
    return not is_answer and not (isinstance(error, exceptions.RedisError) and error.status_code)


def has_hung_up(error: BaseException) -> bool:
    """The server has ended the connection without a word."""
    if isinstance(error, exceptions.TimeoutError) or (isinstance(error, exceptions.RedisError) and error.status_code):
        return False
    cause = _cause(error)
    return isinstance(cause, exceptions.ConnectionError | ConnectionError)


def _cause(error: BaseException) -> BaseException:
    """The system's error, which redis-py puts into words of its own."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found or error


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _tls_hint(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "redis.tls.ca names the file of the authority that signs the server's certificate (the system's, if it is "
            "absent), and redis.url has to hold a name that it contains"
        )
    return (
        "check redis.tls.cert and redis.tls.key: the server may want a certificate from the client (tls-auth-clients)"
    )
