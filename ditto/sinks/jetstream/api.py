"""JetStream's JSON API: requests, and their answers as typed structs.

No answer is used that was not checked here first. One that does not have the form that Ditto knows is an error that
names the request, and is tried again. https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from ditto.errors import AnswerUnreadable, NoJetStream, NotNow, PublishRejected, SinkError
from ditto.sinks.jetstream.requests import Requests

API_TIMEOUT_S: Final = 5.0

NO_MESSAGE: Final = 10037
NAME_IN_USE: Final = 10058
NO_STREAM: Final = 10059
OVERLAP: Final = 10065
WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
_NO_JETSTREAM: Final = frozenset({10039, 10076})
_FULL: Final = 10077
_OFFLINE: Final = frozenset({10118, 10194})
_UNDER_CHANGE: Final = frozenset({10202, 10226})
"""The cluster, or the stream, is being moved or scaled."""
_NOT_NOW: Final = (
    frozenset({10002, 10005, 10007, 10008, 10009, 10023, 10028, 10041, 10047, 10077, 10096, 10167, 10210, 10211})
    | _OFFLINE
    | _UNDER_CHANGE
)
_STORAGE: Final = frozenset({10023, 10028, 10047})

T = TypeVar("T")


class Fault(Struct, frozen=True):
    """An error of JetStream, as it stands in an answer."""

    code: int
    err_code: int
    description: str = "unknown error"


class _Refused(Struct):
    """What any answer may be instead of what was asked for."""

    error: Fault | None = None


class _Typed(Struct):
    """What every answer of the API has."""

    type: str


class StreamConfig(Struct, frozen=True, kw_only=True):
    """What Ditto reads of a stream's configuration; there is more, which an update has to send back."""

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


class MessageAnswer(Struct, frozen=True):
    """STREAM.MSG.GET."""

    message: StoredMessage


class NamesAnswer(Struct, frozen=True):
    """STREAM.NAMES."""

    streams: list[str] | None = None


class AccountLimits(Struct, frozen=True):
    """What an account may use, in bytes; -1 is no limit."""

    max_storage: int = -1


class Account(Struct, frozen=True):
    """INFO: what the account uses."""

    storage: int = 0
    limits: AccountLimits | None = None


class Delivered(Struct, frozen=True):
    """How far a consumer has got."""

    consumer_seq: int = 0
    stream_seq: int = 0


class ConsumerInfo(Struct, frozen=True):
    """CONSUMER.CREATE and CONSUMER.INFO."""

    name: str
    num_pending: int = 0
    """Messages that it has not delivered yet."""
    delivered: Delivered = Delivered()


class Deleted(Struct, frozen=True):
    """CONSUMER.DELETE."""

    success: bool = False


class PubAck(Struct, frozen=True):
    """That a message was stored."""

    stream: str
    seq: int


class ApiError(SinkError):
    """An error of the JetStream API that the caller may know better what to do about."""

    def __init__(self, fault: Fault, doing: str) -> None:
        self.code = fault.err_code
        self.status = fault.code
        self.description = fault.description
        super().__init__(f"cannot {doing}: {self.description}", err_code=self.code)


def refusal(error: ApiError, doing: str) -> SinkError:
    """An error code of JetStream as Ditto's error: https://github.com/nats-io/nats-server/blob/main/server/errors.json."""
    code, description = error.code, error.description
    if code in _NO_JETSTREAM:
        return NoJetStream(f"cannot {doing}: {description}", hint="enable JetStream for the server and the account")
    if code == _FULL:
        return NotNow(
            f"cannot {doing}: the stream is full, or its storage failed ({description})",
            hint="nothing is lost: PostgreSQL keeps the changes. Raise the stream's limits or free the disk; or, once "
            "consumers have read everything, nats stream purge STREAM --keep=1: the last message has to stay",
        )
    if code in _NOT_NOW or error.status in {429, 503}:
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


def api_prefix(domain: str | None) -> str:
    """Of the API of a JetStream domain, or of the server's own."""
    return "$JS.API" if domain is None else f"$JS.{domain}.API"


class Api:
    """The API through one connection. Every call may raise AckTimeout, NotNow, SinkDenied, SinkLost, RequestTooLarge,
    and AnswerUnreadable.
    """

    def __init__(self, requests: Requests, *, domain: str | None) -> None:
        self._requests = requests
        self.prefix = api_prefix(domain)
        """What the subject of every request begins with."""

    async def call(
        self, request: str, body: dict[str, Any] | None, doing: str, *, to: type[T], timeout_s: float = API_TIMEOUT_S
    ) -> T:
        """Send a request such as `STREAM.INFO.ORDERS`; raises ApiError where JetStream answers with an error."""
        subject = f"{self.prefix}.{request}"
        content = b"" if body is None else msgspec.json.encode(body)
        message = await self._requests.ask(subject, content, doing=doing, timeout_s=timeout_s, is_answer=_is_answer)
        if message is None:
            raise NotNow(
                f"cannot {doing}: nothing answers for JetStream",
                hint="it is starting or stopping, or the account has no JetStream",
            )
        return read_answer(message.data, to, doing=doing, request=subject)


def _is_answer(data: bytes) -> bool:
    """Whether JetStream may have sent this."""
    try:
        return msgspec.json.decode(data, type=_Typed).type.startswith("io.nats.jetstream.api.")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def read_answer(data: bytes, to: type[T], *, doing: str, request: str) -> T:
    """Check an answer. Raises ApiError where it is an error of JetStream, and AnswerUnreadable."""
    try:
        refused = msgspec.json.decode(data, type=_Refused)
        if refused.error is None:
            return msgspec.json.decode(data, type=to)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, doing=doing, request=request) from error
    raise ApiError(refused.error, doing)


def read_ack(data: bytes) -> PubAck | Fault | None:
    """What JetStream says of one message; None for what others send who listen on its subject."""
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
    """What does not have the form of an answer to that request."""
    words = str(error) if isinstance(error, msgspec.MsgspecError) else type(error).__name__
    return AnswerUnreadable(
        f"cannot {doing}: the answer to {request} cannot be read: {words}",
        hint="does something else than nats-server answer there? Otherwise please report it with nats-server's version",
    )
