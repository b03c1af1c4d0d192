"""JetStream's refusals as Ditto's errors: the only place that knows its error codes.

https://github.com/nats-io/nats-server/blob/main/server/errors.json
"""

from __future__ import annotations

import shlex
from typing import Final

from msgspec import Struct

from ditto.errors import NoJetStream, NotNow, PublishRejected, SinkError, StreamNotFound, StreamUnusable

NO_MESSAGE: Final = 10037
NAME_IN_USE: Final = 10058
NO_STREAM: Final = 10059
SUBJECTS_OVERLAP: Final = 10065
UNKNOWN_BATCH: Final = 10208
WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
_NO_JETSTREAM: Final = frozenset({10039, 10076})
STREAM_FULL: Final = 10077
_OFFLINE: Final = frozenset({10118, 10194})
_UNDER_CHANGE: Final = frozenset({10202, 10226})
"""The cluster, or the stream, is being moved or scaled."""
_NOT_NOW: Final = (
    frozenset({10002, 10005, 10007, 10008, 10009, 10023, 10028, 10041, 10047, STREAM_FULL, 10096, 10167, 10210, 10211})
    | _OFFLINE
    | _UNDER_CHANGE
)
_STORAGE: Final = frozenset({10023, 10028, 10047})


class Fault(Struct, frozen=True):
    """An error of JetStream, as an answer has it."""

    code: int
    """Of the kind of HTTP's: 400, 404, 503."""
    err_code: int
    description: str = "unknown error"


def refusal(fault: Fault, doing: str, *, stream: str | None = None) -> SinkError:
    """An error of JetStream as Ditto's error; `stream` is the one that holds events, where it is about that."""
    code, description = fault.err_code, fault.description
    if code in _NO_JETSTREAM:
        return NoJetStream(f"cannot {doing}: {description}", hint="enable JetStream for the server and the account")
    if code == STREAM_FULL:
        purge = ""
        if stream is not None:
            command = f"nats stream purge {shlex.quote(stream)} --keep=1"
            purge = f"; or, once consumers have read everything, {command}: the last message has to stay"
        return NotNow(
            f"cannot {doing}: the stream is full, or its storage failed ({description})",
            hint=f"nothing is lost: PostgreSQL keeps the changes. Raise the stream's limits or free the disk{purge}",
        )
    if code == NO_STREAM:
        return StreamNotFound(f"cannot {doing}: {description}", hint="somebody has deleted it", code=code)
    if code == SUBJECTS_OVERLAP:
        return StreamUnusable(
            f"cannot {doing}: another stream takes some of its subjects already ({description})",
            hint="choose another events.prefix, or remove those subjects from the other stream",
        )
    if code in _NOT_NOW or fault.code in {429, 503}:
        if code in _STORAGE:
            hint = "its storage is full; after a full disk nats-server may need a restart"
        elif code in _OFFLINE:
            hint = "start the servers that keep it again; with nats.replicas: 3 it has copies on others"
        elif code in _UNDER_CHANGE:
            hint = "the stream, or the cluster, is being moved or scaled"
        else:
            hint = "JetStream has no leader or is out of resources"
        return NotNow(f"cannot {doing}: {description}", hint=hint, code=code)
    return PublishRejected(f"cannot {doing}: {description}", hint=f"JetStream error {code}", code=code)
