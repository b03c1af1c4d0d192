"""Errors of the sinks."""

from __future__ import annotations

from ditto.errors.base import DittoError


class SinkError(DittoError):
    exit_code = 4


class SinkLost(SinkError):
    """The connection to NATS, Kafka, RabbitMQ or a webhook's receiver ended, or was never made; or the file was removed
    or replaced while Ditto wrote to it.

    Servers: nothing, if it comes back; otherwise look at address, network, TLS and the server's log.
    The file: put it back, or let the new one begin with the last line of the old one; the next session stops with
    StreamGap where that line is missing.
    """

    is_retryable = True


class AckTimeout(SinkError):
    """JetStream did not acknowledge within `nats.ack_timeout`, a webhook's receiver not within `webhook.timeout`, or
    Kafka did not end a transaction within `kafka.ack_timeout`, or RabbitMQ has not answered for `rabbitmq.ack_timeout`.

    Look at the server's disk and load. See the [runbook](operations/runbooks.md#acknowledgement-latency).
    """

    is_retryable = True


class NotNow(SinkError):
    """JetStream cannot store now: no leader, out of resources, or the stream is full; Kafka has too few replicas, or a
    topic is gone; or a file's disk is full; or a webhook's receiver answers 429 or 5xx; or a queue of RabbitMQ is full.

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
    """Something else was stored in the stream or in the file in between, or another Ditto has Kafka's transactional id
    or has opened the stream of RabbitMQ.
    The next session goes on after it.

    Find the other writer; a stream of Ditto's has no other one. During a takeover it is how the former holder is
    fenced.
    """

    is_retryable = True


class LoginDenied(SinkError):
    """The server refuses the user, the password, the token or a certificate, or Ditto refuses to show them without TLS;
    or one end does TLS and the other one does not.

    Check the credentials, or the keys of TLS. A process that has streamed goes on trying, and reads the files that it
    names each time.
    """

    is_retryable_later = True


class SinkDenied(SinkError):
    """The server refuses a permission.

    [NATS permissions](operations.md#nats-permissions) lists the subjects that each command needs,
    [Kafka](guides/kafka.md#permissions) and [Redis](guides/redis.md#permissions) the ACLs,
    [RabbitMQ](guides/rabbitmq.md#permissions) the permissions. The hint has the command that gives what is missing.
    """

    def __init__(self, message: str, *, hint: str | None = None, command: str = "", **context: str | int) -> None:
        super().__init__(message, hint=f"{hint}:\n{command}" if command else hint, **context)
        self.advice = hint
        self.command = command


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
    """The stream does not exist, and `nats.create` or `rabbitmq.stream.create` is false; or a topic, and
    `kafka.topics.create` is.

    Create it, or let Ditto create it.
    """


class StreamUnusable(SinkError):
    """The stream's configuration cannot hold the events: subjects, mirrors, or no batches. Or a topic cannot be created
    as asked for, or would have a name that is too long. Or no queue of RabbitMQ is bound for an event.

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
    """One event is larger than nats-server's `max_payload`, than `webhook.max_bytes`, than `max.message.bytes` of the
    topics of Kafka, or than `stream.frame_max` of RabbitMQ.

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
    """nats-server, Kafka or RabbitMQ refused a message for good.

    The message has the server's reason; a setting of the stream usually is in the way.
    """

    depends_on_settings = True
