"""Every error that Ditto raises on purpose, as one tree.

    DittoError
    ├── ConfigError                 the configuration cannot be used
    │   ├── MissingHere             a variable, a file or a package that this machine does not have
    │   ├── RuleUnfit               a rule in events.tables does not fit its table
    │   └── RuleError               a rule of a table cannot be worked out for a change
    ├── SourceError                 PostgreSQL, or what it sent
    │   ├── ConnectionLost          *  the connection ended, or was never made
    │   ├── ServerNotReady          *  starting up, shutting down, out of connections
    │   ├── TableLocked             *  somebody holds a lock on a table
    │   ├── SlotInUse               *  another reader holds the slot
    │   ├── AccessDenied            password, role, pg_hba, missing database or privilege
    │   ├── ServerUnsuitable        wal_level, version, no slot left
    │   ├── IdentityMissing         a publication would break the application's UPDATE and DELETE
    │   ├── PublicationMissing      absent, and not to be created
    │   ├── TableNotPublished       events.tables names it, and the publication does not send it
    │   ├── SlotMissing             absent, and not to be created
    │   ├── SlotUnusable            another plugin, another database, two-phase
    │   ├── SlotInvalidated         PostgreSQL has removed WAL that the slot needed
    │   ├── SourceRewound           the stream is ahead of the server: restored from a backup?
    │   ├── DecodingFailed          PostgreSQL cannot decode its own WAL
    │   ├── DecodeError             bytes that are not the pgoutput that was asked for
    │   ├── SnapshotRefused         a table, or a request for a snapshot, that cannot be read as asked
    │   └── ServerFault             an error of PostgreSQL's that Ditto knows nothing of
    ├── SinkError                   the sink, or what it answered
    │   ├── SinkLost                *  the connection ended, or was never made; the file was replaced
    │   ├── AckTimeout              *  no acknowledgement within the deadline
    │   ├── NotNow                  *  no leader, out of resources, stream or disk full, file locked
    │   ├── AnswerUnreadable        *  an answer that does not have the form that Ditto knows
    │   ├── ChainBroken             *  something else was stored in between: read the tail again
    │   ├── LoginDenied             user, password, token, certificate
    │   ├── SinkDenied              a permission
    │   ├── NatsUnsuitable          nats-server is too old
    │   ├── RedisUnsuitable         the Redis server is too old, or its cluster cannot take the keys
    │   ├── NoJetStream             the server or the account has no JetStream
    │   ├── StreamNotFound          absent, and not to be created
    │   ├── StreamUnusable          its configuration cannot hold the events
    │   ├── StreamOwned             it belongs to another pipeline
    │   ├── WebhookRefused          the receiver of a webhook takes no such request, now or later
    │   ├── FileUnusable            the file, or standard output, cannot take the events
    │   ├── TailForged              its last message is not Ditto's own
    │   ├── StreamGap               the slot is after the sink's tail: events are missing
    │   ├── SubjectCollision        two tables would share a subject
    │   ├── EventTooLarge           one event is larger than the server accepts
    │   ├── RequestTooLarge         a request is larger than the server accepts
    │   └── PublishRejected         the server refused a message for good
    └── FleetError                  a fleet of nodes (`ditto serve`), and the pipelines that it keeps
        ├── ControlPlaneLost        *  NATS, which keeps what is to run, cannot be used
        ├── ControlPlaneUnsuitable  an entry of a bucket cannot be read, or a bucket not be created
        ├── PipelineUnreadable      the entry of a pipeline cannot be read
        ├── RevisionConflict        somebody else has changed the pipeline meanwhile
        ├── PipelineUnknown         no pipeline has that name
        ├── PipelineRefused         a document with a secret in it, or a name that cannot be
        ├── NodeUnknown             no live node has that name
        ├── NodeNameTaken           another live node has the name of this one
        ├── NodeStarting            *  the node does not know the fleet yet
        ├── NodeSilent              *  the node that runs the pipeline does not answer
        ├── NotRunning              no node runs the pipeline at the moment
        ├── TokenRefused            no token, or none that the node knows
        ├── RoleMissing             the token's role does not include that
        ├── RevisionMissing         a change that does not say what it is a change of
        ├── NotPossibleNow          pipeline, snapshot or node is not in a state for that
        ├── SnapshotUnknown         no run has that name
        ├── TooManyStreams          *  the node sends live events to as many clients as it takes
        ├── NoServer                no node answers at that address
        ├── NodeCrashed             an unexpected error ended a node, again and again
        └── PipelineCrashed         an unexpected error ended the pipeline

A class's docstring says what happened, and after an empty line what a user does about it; the reference of the errors
is made of them. Classes marked * are retried by the pipeline, with back-off; all others stop it (`is_retryable`),
some of them only where it has not streamed yet (`is_retryable_later`) or where the next session says the same
(`depends_on_settings`).
The process then exits with the class's `exit_code`: 1 internal, 2 configuration, 3 PostgreSQL, 4 the sink,
5 the fleet.
"""

from __future__ import annotations

from ditto.errors.api import (
    NoServer,
    NotPossibleNow,
    RevisionMissing,
    RoleMissing,
    SnapshotUnknown,
    TokenRefused,
    TooManyStreams,
)
from ditto.errors.base import (
    DittoError,
)
from ditto.errors.configuration import (
    ConfigError,
    MissingHere,
    RuleError,
    RuleUnfit,
)
from ditto.errors.fleet import (
    ControlPlaneLost,
    ControlPlaneUnsuitable,
    FleetError,
    NodeCrashed,
    NodeNameTaken,
    NodeSilent,
    NodeStarting,
    NodeUnknown,
    NotRunning,
    PipelineCrashed,
    PipelineRefused,
    PipelineUnknown,
    PipelineUnreadable,
    RevisionConflict,
)
from ditto.errors.sink import (
    AckTimeout,
    AnswerUnreadable,
    ChainBroken,
    EventTooLarge,
    FileUnusable,
    LoginDenied,
    NatsUnsuitable,
    NoJetStream,
    NotNow,
    PublishRejected,
    RedisUnsuitable,
    RequestTooLarge,
    SinkDenied,
    SinkError,
    SinkLost,
    StreamGap,
    StreamNotFound,
    StreamOwned,
    StreamUnusable,
    SubjectCollision,
    TailForged,
    WebhookRefused,
)
from ditto.errors.source import (
    AccessDenied,
    ConnectionLost,
    DecodeError,
    DecodingFailed,
    IdentityMissing,
    PublicationMissing,
    ServerFault,
    ServerNotReady,
    ServerUnsuitable,
    SlotInUse,
    SlotInvalidated,
    SlotMissing,
    SlotUnusable,
    SnapshotRefused,
    SourceError,
    SourceRewound,
    TableLocked,
    TableNotPublished,
)

__all__ = [
    "AccessDenied",
    "AckTimeout",
    "AnswerUnreadable",
    "ChainBroken",
    "ConfigError",
    "ConnectionLost",
    "ControlPlaneLost",
    "ControlPlaneUnsuitable",
    "DecodeError",
    "DecodingFailed",
    "DittoError",
    "EventTooLarge",
    "FileUnusable",
    "FleetError",
    "IdentityMissing",
    "LoginDenied",
    "MissingHere",
    "NatsUnsuitable",
    "NoJetStream",
    "NoServer",
    "NodeCrashed",
    "NodeNameTaken",
    "NodeSilent",
    "NodeStarting",
    "NodeUnknown",
    "NotNow",
    "NotPossibleNow",
    "NotRunning",
    "PipelineCrashed",
    "PipelineRefused",
    "PipelineUnknown",
    "PipelineUnreadable",
    "PublicationMissing",
    "PublishRejected",
    "RedisUnsuitable",
    "RequestTooLarge",
    "RevisionConflict",
    "RevisionMissing",
    "RoleMissing",
    "RuleError",
    "RuleUnfit",
    "ServerFault",
    "ServerNotReady",
    "ServerUnsuitable",
    "SinkDenied",
    "SinkError",
    "SinkLost",
    "SlotInUse",
    "SlotInvalidated",
    "SlotMissing",
    "SlotUnusable",
    "SnapshotRefused",
    "SnapshotUnknown",
    "SourceError",
    "SourceRewound",
    "StreamGap",
    "StreamNotFound",
    "StreamOwned",
    "StreamUnusable",
    "SubjectCollision",
    "TableLocked",
    "TableNotPublished",
    "TailForged",
    "TokenRefused",
    "TooManyStreams",
    "WebhookRefused",
]
