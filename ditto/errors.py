"""Every error that Ditto raises on purpose, as one tree.

    DittoError
    ├── ConfigError                 the configuration cannot be used
    ├── SourceError                 PostgreSQL, or what it sent
    │   ├── ConnectionLost          *  the connection ended, or was never made
    │   ├── ServerNotReady          *  starting up, shutting down, out of connections
    │   ├── SlotInUse               *  another reader holds the slot
    │   ├── AccessDenied            password, role, pg_hba, missing database or privilege
    │   ├── ServerUnsuitable        wal_level, version, no slot left
    │   ├── IdentityMissing         a publication would break the application's UPDATE and DELETE
    │   ├── PublicationMissing      absent, and not to be created
    │   ├── TableNotPublished       events.tables names it, and the publication lacks it
    │   ├── SlotMissing             absent, and not to be created
    │   ├── SlotUnusable            another plugin, another database, two-phase
    │   ├── SlotInvalidated         PostgreSQL has removed WAL that the slot needed
    │   ├── SourceRewound           the stream is ahead of the server: restored from a backup?
    │   └── DecodeError             bytes that are not the pgoutput that was asked for
    └── SinkError                   NATS, or what it answered
        ├── SinkLost                *  the connection ended, or was never made
        ├── AckTimeout              *  no acknowledgement within the deadline
        ├── NotNow                  *  no leader, out of resources, stream full
        ├── ChainBroken             *  something else was stored in between: read the tail again
        ├── SinkDenied              user, password, token, permissions
        ├── NatsUnsuitable          nats-server is too old
        ├── NoJetStream             the server or the account has no JetStream
        ├── StreamNotFound          absent, and not to be created
        ├── StreamUnusable          its configuration cannot hold the events
        ├── StreamOwned             it belongs to another pipeline
        ├── StreamGap               the slot stands after the stream's tail: events are missing
        ├── SubjectCollision        two tables would share a subject
        ├── EventTooLarge           one event is larger than the server accepts
        └── PublishRejected         the server refused a message for good

Classes marked * are retried by the pipeline, with back-off; all others stop it (`is_retryable`).
The process then exits with the class's `exit_code`: 1 internal, 2 configuration, 3 PostgreSQL, 4 NATS.
"""

from __future__ import annotations

from typing import ClassVar


class DittoError(Exception):
    """Base of all errors: `hint` says what to do; `context` holds slot, LSN, relation, never row values."""

    is_retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, **context: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context


class ConfigError(DittoError):
    exit_code = 2


class SourceError(DittoError):
    exit_code = 3


class ConnectionLost(SourceError):
    is_retryable = True


class ServerNotReady(SourceError):
    is_retryable = True


class SlotInUse(SourceError):
    is_retryable = True


class AccessDenied(SourceError):
    pass


class ServerUnsuitable(SourceError):
    pass


class IdentityMissing(SourceError):
    pass


class PublicationMissing(SourceError):
    pass


class TableNotPublished(SourceError):
    pass


class SlotMissing(SourceError):
    pass


class SlotUnusable(SourceError):
    pass


class SlotInvalidated(SourceError):
    pass


class SourceRewound(SourceError):
    pass


class DecodeError(SourceError):
    pass


class SinkError(DittoError):
    exit_code = 4


class SinkLost(SinkError):
    is_retryable = True


class AckTimeout(SinkError):
    is_retryable = True


class NotNow(SinkError):
    is_retryable = True


class ChainBroken(SinkError):
    is_retryable = True


class SinkDenied(SinkError):
    pass


class NatsUnsuitable(SinkError):
    pass


class NoJetStream(SinkError):
    pass


class StreamNotFound(SinkError):
    pass


class StreamUnusable(SinkError):
    pass


class StreamOwned(SinkError):
    pass


class StreamGap(SinkError):
    pass


class SubjectCollision(SinkError):
    pass


class EventTooLarge(SinkError):
    pass


class PublishRejected(SinkError):
    pass
