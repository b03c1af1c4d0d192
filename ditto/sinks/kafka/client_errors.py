"""Ditto's errors of what librdkafka says: about a connection, a request, a transaction, a message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException

from ditto.errors import (
    AckTimeout,
    ChainBroken,
    LoginDenied,
    NotNow,
    PublishRejected,
    SinkError,
    SinkLost,
    StreamUnusable,
)

if TYPE_CHECKING:
    from ditto.sinks.kafka.access import Access

FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
    }
)
_LOGIN: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
_DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)
_LATE: Final = frozenset({KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT_QUEUE})
_LOST: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._DESTROY,
        KafkaError.NETWORK_EXCEPTION,
    }
)
_NOT_NOW: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.INVALID_TXN_STATE,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError.MSG_SIZE_TOO_LARGE,  # what is sent is as large as the topic took when the session began
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_CONTROLLER,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        # What a client knows of a partition is older or newer than what the broker knows: a leader has changed, or a
        # topic was deleted and created.
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.LISTENER_NOT_FOUND,
        KafkaError.INCONSISTENT_TOPIC_ID,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.TRANSACTION_ABORTABLE,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._STATE,
        KafkaError._CONFLICT,
        KafkaError._PREV_IN_PROGRESS,
    }
)
_UNUSABLE: Final = frozenset(
    {
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
    }
)
_HINTS: Final = {
    KafkaError.NOT_ENOUGH_REPLICAS: "bring the brokers back that have the other replicas (min.insync.replicas)",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "was the topic deleted? The next session creates what is missing, where it may",
    KafkaError.INVALID_CONFIG: "see kafka.topics.config: its keys and values are those of Kafka's topics",
    KafkaError.INVALID_REPLICATION_FACTOR: "give kafka.topics.replication_factor as many replicas as there are brokers",
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "lower kafka.ack_timeout, or raise the broker's transaction.max.timeout.ms",
    KafkaError.MSG_SIZE_TOO_LARGE: "was max.message.bytes lowered? The next session goes by it where Ditto's user may "
    "read it (DescribeConfigs); otherwise raise it to 1048588, Kafka's default",
    KafkaError.TOPIC_EXCEPTION: "Kafka takes '.' and '_' in topics for the same: give the table another topic in "
    "events.topics, or another events.subject",
}
_BROKER: Final = re.compile(r"^(?:\w+://)?[^\s/]+/(?:bootstrap|\d+): ")
_NONE: Final = re.compile(r"[:;,]? broker's supported mechanisms: *$")
_CLOSED: Final = "SSL connection closed by peer"
_STATE: Final = re.compile(r" \(after \d+ms in state \w+\).*$", re.DOTALL)


def error_of(exception: KafkaException) -> KafkaError:
    """What the exception holds."""
    error = exception.args[0]
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(error))


def is_fencing(error: KafkaError) -> bool:
    """Another producer has the transactional id by now, or the broker has given this one up."""
    return error.code() in FENCED


def translate(
    error: KafkaError, doing: str, access: Access, *, operation: str = "Describe", topic: str = ""
) -> SinkError:
    """The error for one of librdkafka's; no row value is in one of these. `operation` is the right that was needed."""
    context = {"topic": topic} if topic else {}
    code, reason = error.code(), _NONE.sub("", _BROKER.sub("", _STATE.sub("", error.str())))
    begin = f"cannot {doing}"
    if code in FENCED:
        return ChainBroken(
            f"{begin}: another Ditto writes with the same transactional id, or the broker has aborted the transaction",
            hint="let no second Ditto use the slot's checkpoint; during a takeover this is how the former holder is "
            "fenced. A Ditto that was frozen for longer than twice kafka.ack_timeout goes on by itself",
            **context,
        )
    if code in _LOGIN:
        return LoginDenied(
            f"{begin} as {access.principal}: {reason}",
            hint="check kafka.user, kafka.password and kafka.mechanism, and that the listener does SASL: where it does "
            "not, leave kafka.user out",
            **context,
        )
    if code == KafkaError._SSL or any(words in reason for words in ("SSL handshake failed", "certificate", _CLOSED)):
        is_plain = "PLAINTEXT broker listener" in reason or _CLOSED in reason
        kind: type[SinkError] = SinkLost if is_plain else LoginDenied
        advice = (
            "does the listener at that port do TLS? If not, give another port, or leave kafka.tls out"
            if is_plain
            else "check kafka.tls.ca (the authority that signs the broker's certificate), kafka.tls.cert and "
            "kafka.tls.key (the listener may want a certificate from the client), and that the broker's certificate "
            "contains the name by which it is reached"
        )
        return kind(f"{begin}: {reason}", hint=advice, **context)
    if code in _DENIED:
        return access.denied(error, begin, operation=operation, topic=topic)
    if code in _LATE:
        return AckTimeout(
            f"{begin}: no answer in time ({reason})",
            hint="are the brokers running? Look at their load, and at kafka.ack_timeout",
            **context,
        )
    if code in _LOST:
        return SinkLost(f"{begin}: {reason}", hint="look at kafka.brokers, at kafka.tls and at the network", **context)
    hint = _HINTS.get(code)
    if code in _NOT_NOW:
        return NotNow(f"{begin}: {reason}", hint=hint or "Ditto tries again by itself", **context)
    if code in _UNUSABLE:
        return StreamUnusable(f"{begin}: {reason}", hint=hint or "do as the message says", **context)
    if error.retriable() or error.txn_requires_abort():
        return NotNow(f"{begin}: {reason}", hint=hint or "Ditto tries again by itself", **context)
    return PublishRejected(f"{begin}: {reason}", hint=hint or "the broker's log may have more", **context)
