"""The answers of JetStream's JSON API as typed structs, read and checked.

Every answer is checked here before it is used. An answer without the form that Ditto knows is an error that names the
request, and is tried again. https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from ditto.errors import AnswerUnreadable
from ditto.sinks.jetstream.api_errors import Fault

T = TypeVar("T")


class _Refused(Struct):
    """The form of any answer that refuses."""

    error: Fault | None = None


class _Typed(Struct):
    """The field that every answer of the API has."""

    type: str


class StreamConfig(Struct, frozen=True, kw_only=True):
    """The settings of a stream that Ditto reads. There are more, which an update has to send back."""

    subjects: list[str] | None = None
    storage: str = "file"
    retention: str = "limits"
    discard: str = "old"
    max_msgs: int = -1
    max_bytes: int = -1
    max_age: int = 0
    """Nanoseconds; 0 is no limit."""
    max_msg_size: int = -1
    max_msgs_per_subject: int = -1
    num_replicas: int = 1
    no_ack: bool = False
    sealed: bool = False
    persist_mode: str = ""
    allow_rollup_hdrs: bool = False
    allow_batched: bool = False
    allow_msg_ttl: bool = False
    subject_delete_marker_ttl: int = 0
    """Nanoseconds; 0 is no markers."""
    mirror: dict[str, Any] | None = None
    sources: list[dict[str, Any]] | None = None
    metadata: dict[str, str] | None = None


class StreamState(Struct, frozen=True):
    """How much a stream holds."""

    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    subjects: dict[str, int] | None = None
    """One page of the subjects and how many messages each has, where the request asked for them."""


class Cluster(Struct, frozen=True):
    """The servers that keep a stream."""

    name: str | None = None
    leader: str | None = None


class StreamInfo(Struct, frozen=True):
    """STREAM.INFO, STREAM.CREATE and STREAM.UPDATE."""

    config: msgspec.Raw
    """Everything that the server gave: `read_config` checks it."""
    state: StreamState
    cluster: Cluster | None = None
    ts: datetime | None = None
    """The server's clock."""
    total: int = 0
    """How many subjects there are, over all pages."""


class StoredMessage(Struct, frozen=True):
    """A message of a stream."""

    subject: str
    seq: int
    time: datetime
    hdrs: bytes = b""
    data: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of a header; None without it."""
        for line in self.hdrs.decode("utf-8", "replace").split("\r\n"):
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
        return None


class StoredAnswer(Struct, frozen=True):
    """STREAM.MSG.GET."""

    message: StoredMessage


class StreamNames(Struct, frozen=True):
    """STREAM.NAMES."""

    streams: list[str] | None = None


class AccountLimits(Struct, frozen=True):
    """The limits of an account, in bytes; -1 is no limit."""

    max_storage: int = -1


class Account(Struct, frozen=True):
    """INFO: what the account uses."""

    storage: int = 0
    limits: AccountLimits | None = None


class ConsumerInfo(Struct, frozen=True):
    """CONSUMER.CREATE."""

    name: str
    num_pending: int = 0
    """Messages that it has not delivered yet."""


class Deleted(Struct, frozen=True):
    """CONSUMER.DELETE and STREAM.PURGE."""

    success: bool = False


class PubAck(Struct, frozen=True):
    """The acknowledgement of a message that was stored."""

    stream: str
    seq: int


def is_answer(data: bytes) -> bool:
    """Whether JetStream may have sent this."""
    try:
        return msgspec.json.decode(data, type=_Typed).type.startswith("io.nats.jetstream.api.")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def read_answer(data: bytes, to: type[T], *, doing: str, request: str) -> T | Fault:
    """An answer, checked, or JetStream's error. Raises AnswerUnreadable."""
    try:
        refused = msgspec.json.decode(data, type=_Refused)
        return refused.error or msgspec.json.decode(data, type=to)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, doing=doing, request=request) from error


def read_ack(data: bytes) -> PubAck | Fault | None:
    """JetStream's answer to one message; None for the answer of somebody else who listens on its subject."""
    try:
        refused = msgspec.json.decode(data, type=_Refused)
        return refused.error or msgspec.json.decode(data, type=PubAck)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_config(info: StreamInfo, *, doing: str) -> tuple[StreamConfig, dict[str, Any]]:
    """A stream's configuration: what Ditto knows of it, and everything as the server gave it."""
    try:
        return msgspec.json.decode(info.config, type=StreamConfig), msgspec.json.decode(info.config)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise unreadable(error, doing=doing, request="the stream's configuration") from error


def unreadable(error: Exception, *, doing: str, request: str) -> AnswerUnreadable:
    """The error for bytes that do not have the form of an answer to that request."""
    words = str(error) if isinstance(error, msgspec.MsgspecError) else type(error).__name__
    return AnswerUnreadable(
        f"cannot {doing}: the answer to {request} cannot be read: {words}",
        hint="does something else than nats-server answer there? Otherwise please report it with nats-server's version",
    )
