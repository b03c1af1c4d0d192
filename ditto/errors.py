"""Every error that Ditto raises on purpose, as one tree.

    DittoError
    ├── ConfigError                 the configuration cannot be used
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
    └── SinkError                   NATS, or what it answered; a file, a webhook
        ├── SinkLost                *  the connection ended, or was never made; the file was replaced
        ├── AckTimeout              *  no acknowledgement within the deadline
        ├── NotNow                  *  no leader, out of resources, stream or disk full, file locked
        ├── AnswerUnreadable        *  an answer that does not have the form that Ditto knows
        ├── ChainBroken             *  something else was stored in between: read the tail again
        ├── LoginDenied             user, password, token, certificate
        ├── SinkDenied              a permission
        ├── NatsUnsuitable          nats-server is too old
        ├── RedisUnsuitable         the Redis server is too old, or its cluster cannot take the keys
        ├── NoJetStream             the server or the account has no JetStream
        ├── StreamNotFound          absent, and not to be created
        ├── StreamUnusable          its configuration cannot hold the events
        ├── StreamOwned             it belongs to another pipeline
        ├── WebhookRefused          the receiver of a webhook takes no such request, now or later
        ├── FileUnusable            the file, or standard output, cannot take the events
        ├── TailForged              its last message is not Ditto's own
        ├── StreamGap               the slot is after the sink's tail: events are missing
        ├── SubjectCollision        two tables would share a subject
        ├── EventTooLarge           one event is larger than the server accepts
        ├── RequestTooLarge         a request is larger than the server accepts
        └── PublishRejected         the server refused a message for good

A class's docstring says what happened, and after an empty line what a user does about it; the reference of the errors
is made of them. Classes marked * are retried by the pipeline, with back-off; all others stop it (`is_retryable`),
some of them only where it has not streamed yet (`is_retryable_later`) or where the next session says the same
(`depends_on_settings`).
The process then exits with the class's `exit_code`: 1 internal, 2 configuration, 3 PostgreSQL, 4 the sink.
"""

from __future__ import annotations

from typing import ClassVar


class DittoError(Exception):
    """Base of all errors: `hint` says what to do; `context` holds slot, LSN, relation, never row values."""

    is_retryable: ClassVar[bool] = False
    is_retryable_later: ClassVar[bool] = False
    """Retried by a process that has streamed: the cause is at the other end then, and may go away."""
    depends_on_settings: ClassVar[bool] = False
    """Judged by settings of nats-server or the stream as the session read them when it began: final only where the next
    session, which reads them anew, says the same."""
    exit_code: ClassVar[int] = 1
    retry_after_s: float = 0.0
    """The other end asks not to be tried again before."""

    def __init__(self, message: str, *, hint: str | None = None, **context: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context


class ConfigError(DittoError):
    """The configuration, or an option of a command, cannot be used.

    The message names the key and the nearest known one. `ditto config show` tells what results;
    [configuration](configuration.md) lists all keys.
    """

    exit_code = 2
    is_retryable_later = True  # a file that it names is being replaced


class RuleUnfit(ConfigError):
    """A rule in `events.tables` does not fit its table: it names a column that is not there, or not in every change.

    The message names the key and the nearest column. Correct the rule, or the table; `ditto check` finds all of them.
    """

    is_retryable_later = False

    def __init__(
        self, message: str, *, hint: str | None = None, statement: str | None = None, **context: str | int
    ) -> None:
        super().__init__(message, hint=hint, **context)
        self.statement = statement
        """For psql: what would correct the table."""


class RuleError(ConfigError):
    """A rule of `events` cannot be worked out for a change: a condition, a template, the key.

    Change the rule, or set `on_error` of the table to `keep` or `drop`. Where the message says that a value was not
    sent, `ALTER TABLE … REPLICA IDENTITY FULL` lets PostgreSQL send it with later changes. PostgreSQL keeps the change,
    and Ditto goes on with it.
    """

    is_retryable_later = False


class SourceError(DittoError):
    exit_code = 3


class ConnectionLost(SourceError):
    """The connection to PostgreSQL ended, or was never made.

    Nothing, if it comes back. Otherwise look at address, network, TLS and the server's log; under load also at
    `wal_sender_timeout`.
    """

    is_retryable = True


class ServerNotReady(SourceError):
    """PostgreSQL is starting up, shutting down, or out of connections.

    Wait; where it lasts, raise `max_connections` or `max_wal_senders`.
    """

    is_retryable = True


class TableLocked(SourceError):
    """A question could not be answered, because somebody holds a lock on a table.

    Wait for that transaction, or end it: `SELECT * FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock'`.
    """

    is_retryable = True


class SlotInUse(SourceError):
    """Another reader holds the slot.

    Nothing, where that is another Ditto: this one stands by. Otherwise end it, or use another `postgres.slot`.
    """

    is_retryable = True


class AccessDenied(SourceError):
    """PostgreSQL refuses the password, the role, the database or a privilege.

    The role needs LOGIN and REPLICATION, a line in `pg_hba.conf` for the database itself, and to own the tables if
    it is to create the publication. See [operations](operations.md#what-it-needs).
    """

    is_retryable_later = True


class ServerUnsuitable(SourceError):
    """The server cannot serve logical replication: `wal_level`, its version, no slot or walsender left.

    Set what the message names, and restart the server.
    """


class IdentityMissing(SourceError):
    """The publication would break the application's UPDATE and DELETE, on tables without a replica identity.

    `ALTER TABLE … REPLICA IDENTITY FULL`, or a primary key, for each table that it names; or create the publication
    yourself.
    """


class PublicationMissing(SourceError):
    """The publication does not exist, and `postgres.create` is false.

    Create it, before the slot: `CREATE PUBLICATION ditto FOR TABLE …`.
    """


class TableNotPublished(SourceError):
    """The publication does not send something that `events.tables` names: a table, the name of a partition, an action.

    Add it, as the table's owner: `ALTER PUBLICATION ditto ADD TABLE …`, start again, and then reload the consumers of
    that table; or take it out of `events.tables`. See
    [operations](operations.md#when-publication-and-configuration-disagree).
    """


class SlotMissing(SourceError):
    """The slot does not exist, and `postgres.create` is false.

    Create it, or let Ditto create it.
    """


class SlotUnusable(SourceError):
    """The slot is not one for pgoutput of this database without two-phase commit.

    Name another one in `postgres.slot`, or drop it: `ditto slot drop`.
    """


class SlotInvalidated(SourceError):
    """PostgreSQL has removed WAL that the slot still needed.

    Drop it with `ditto slot drop`, start once with `delivery.on_gap: continue`, and then, not before, reload consumers
    from the tables: see [When it stops with a gap](operations.md#when-it-stops-with-a-gap). A larger
    `max_slot_wal_keep_size` avoids it.
    """


class SourceRewound(SourceError):
    """The stream is ahead of the server: it was restored from a backup, or another one was promoted.

    Restore the stream to the same time; or give Ditto a new `postgres.slot`, `nats.stream` and `events.prefix`, and
    then reload consumers from the tables.
    """


class DecodeError(SourceError):
    """PostgreSQL sent bytes that are not the pgoutput that was asked for.

    Please report it, with the message and the server's version.
    """


class DecodingFailed(SourceError):
    """PostgreSQL's logical decoding fails at something in its own WAL: a bug of the server's.

    Start Ditto again: the slot holds the changes. Where that does not help, install the latest minor release; and last
    of all drop the slot with `ditto slot drop`, and go on as after a [gap](operations.md#when-it-stops-with-a-gap).
    """


class SnapshotRefused(SourceError):
    """A snapshot of one table cannot be read, or its request cannot be understood. The other tables and the live stream
    go on.

    The message names the table and the reason: a missing right, row-level security, a table that is not published, a
    wrong `where`. Correct that, and ask for a snapshot of the table again.
    """


class ServerFault(SourceError):
    """PostgreSQL answered with an error that Ditto knows nothing of.

    The message has the server's words, and its log more.
    """

    is_retryable_later = True


class SinkError(DittoError):
    exit_code = 4


class SinkLost(SinkError):
    """The connection to NATS, to Kafka or to a webhook's receiver ended, or was never made; or the file was removed or
    replaced while Ditto wrote to it.

    NATS, Kafka and webhooks: nothing, if it comes back; otherwise look at address, network, TLS and the server's log.
    The file: put it back, or let the new one begin with the last line of the old one; the next session stops with
    StreamGap where that line is missing.
    """

    is_retryable = True


class AckTimeout(SinkError):
    """JetStream did not acknowledge within `nats.ack_timeout`, a webhook's receiver not within `webhook.timeout`, or
    Kafka did not end a transaction within `kafka.ack_timeout`.

    Look at the server's disk and load. See the [runbook](operations/runbooks.md#acknowledgement-latency).
    """

    is_retryable = True


class NotNow(SinkError):
    """JetStream cannot store now: no leader, out of resources, or the stream is full; Kafka has too few replicas, or a
    topic is gone; or a file's disk is full; or a webhook's receiver answers 429 or 5xx.

    Restore the cluster's majority, or make room: see the [runbook](operations/runbooks.md#the-stream-is-full). Never
    purge the last message, or the last line. Also where another process has locked the file: end it.
    """

    is_retryable = True


class AnswerUnreadable(SinkError):
    """An answer of nats-server, or an entry of its store, does not have the form that Ditto knows.

    See what answers at that address: a proxy, or something else than nats-server. Otherwise please report it, with the
    message and the server's version.
    """

    is_retryable = True


class ChainBroken(SinkError):
    """Something else was stored in the stream or in the file in between, or another Ditto has Kafka's transactional id.
    The next session goes on after it.

    Find the other writer; a stream of Ditto's has no other one. During a takeover it is how the former holder is
    fenced.
    """

    is_retryable = True


class LoginDenied(SinkError):
    """The server refuses the user, the password, the token or a certificate, or Ditto refuses to show them without TLS.

    Check the credentials. A process that has streamed goes on trying, and reads the files that it names each time.
    """

    is_retryable_later = True


class SinkDenied(SinkError):
    """The server refuses a permission.

    [NATS permissions](operations.md#nats-permissions) lists the subjects that each command needs,
    [Kafka](guides/kafka.md#permissions) the ACLs.
    """


class NatsUnsuitable(SinkError):
    """nats-server is older than 2.14.

    Upgrade it.
    """


class RedisUnsuitable(SinkError):
    """The Redis server is too old, or may evict entries, or the keys are not in one slot of its cluster.

    Do as the message says. See [Redis](guides/redis.md).
    """


class NoJetStream(SinkError):
    """The server, or the account, has no JetStream.

    Start nats-server with `--jetstream`, or enable it for the account.
    """


class StreamNotFound(SinkError):
    """The stream does not exist, and `nats.create` is false; or a topic, and `kafka.topics.create` is.

    Create it, or let Ditto create it.
    """


class StreamUnusable(SinkError):
    """The stream's configuration cannot hold the events: subjects, mirrors, or no batches. Or a topic cannot be created
    as asked for, or would have a name that is too long.

    Change what the message names, or give Ditto a stream and subjects of its own in `nats.stream` and `events.prefix`.
    """


class StreamOwned(SinkError):
    """The stream, or the file, belongs to another slot or another database.

    Give each Ditto a stream and subjects of its own in `nats.stream` and `events.prefix`, a file of its own in
    `file.path`, or topics of its own in `events.prefix`. After pg_upgrade,
    [go on in the same stream](guides/upgrading-postgresql.md).
    """


class FileUnusable(SinkError):
    """The file of `file.path`, or standard output, cannot take the events.

    Do as the message says: a directory, a permission, a file of another program, a reader that has ended. See
    [files](guides/files.md).
    """


class WebhookRefused(SinkError):
    """The receiver of the webhook answered with a status that says: not this request, now or later (4xx, but for 408
    and 429, or a redirect).

    The message has the status, and the receiver's log the reason: a signature, a token, the size or the form of the
    body. 410 says that it wants no more. PostgreSQL keeps the events. See [webhooks](guides/webhook.md#the-answers).
    """


class TailForged(SinkError):
    """The stream ends with a message that claims a position, and Ditto did not write it: forged, or corrupt.

    Take the right to publish on the stream's subjects away from others
    ([permissions](operations.md#who-may-publish-into-the-stream)), and delete the message that is named.
    """


class StreamGap(SinkError):
    """The slot is after the sink's tail: events in between are in neither.

    [When it stops with a gap](operations.md#when-it-stops-with-a-gap).
    """


class SubjectCollision(SinkError):
    """Two tables would share a subject, or a topic of Kafka.

    Use a dotted `events.subject`, or give one of them a subject in `events.topics`.
    """


class EventTooLarge(SinkError):
    """One event is larger than nats-server's `max_payload`, than `webhook.max_bytes`, or than `max.message.bytes` of
    the topics of Kafka.

    Raise it (`max_payload` up to 32 MB: files take no larger message), leave the column out of the publication, or let
    `events.oversize` decide.
    """

    depends_on_settings = True


class RequestTooLarge(SinkError):
    """A request to JetStream is larger than nats-server's `max_payload`: a stream with a long list of subjects, mostly.

    Raise `max_payload`, or let one wildcard take the place of many subjects:
    `events.subject: "{prefix}.{schema}.{table}"`.
    """

    depends_on_settings = True


class PublishRejected(SinkError):
    """nats-server, or Kafka, refused a message for good.

    The message has the server's reason; a setting of the stream usually is in the way.
    """

    depends_on_settings = True
