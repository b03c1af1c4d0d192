"""The section of Apache Kafka: topics in place of a stream of NATS."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from ditto.config.documented import Seconds
from ditto.config.documented import documented as _doc
from ditto.config.durations import check_positive
from ditto.config.impossible import Impossible
from ditto.config.tls import ClientTls, half_given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_TOPIC: Final = 249
_BROKER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]+")

_OWN: Final = "Ditto sets it: what is stored exactly once depends on it"
_HAS_KEY: Final = "has a key of its own"
_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "acks",
                "request.required.acks",
                "delivery.report.only.error",
                "delivery.timeout.ms",
                "enable.auto.commit",
                "enable.auto.offset.store",
                "enable.gapless.guarantee",
                "enable.idempotence",
                "enable.partition.eof",
                "group.id",
                "isolation.level",
                "max.in.flight",
                "max.in.flight.requests.per.connection",
                "message.max.bytes",
                "message.send.max.retries",
                "message.timeout.ms",
                "partitioner",
                "queue.buffering.max.kbytes",
                "queue.buffering.max.messages",
                "queuing.strategy",
                "retries",
                "transaction.timeout.ms",
                "transactional.id",
            ),
            _OWN,
        ),
        "bootstrap.servers": f"{_HAS_KEY}, kafka.brokers",
        "metadata.broker.list": f"{_HAS_KEY}, kafka.brokers",
        "sasl.password": f"{_HAS_KEY}, kafka.password, which is masked",
        "sasl.username": f"{_HAS_KEY}, kafka.user",
        "sasl.mechanism": f"{_HAS_KEY}, kafka.mechanism",
        "sasl.mechanisms": f"{_HAS_KEY}, kafka.mechanism",
        "security.protocol": "follows from kafka.tls and kafka.user",
        "ssl.ca.location": f"{_HAS_KEY}, kafka.tls.ca",
        "ssl.certificate.location": f"{_HAS_KEY}, kafka.tls.cert",
        "ssl.key.location": f"{_HAS_KEY}, kafka.tls.key",
        "ssl.key.password": "would be shown in logs; give a key without a password, readable by Ditto's user alone",
        "enable.ssl.certificate.verification": "would let anybody answer in the broker's place",
    }
)


class KafkaTls(ClientTls, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS to the brokers. Without any key the system's certificate authorities are trusted."""


class KafkaTopics(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How topics are created."""

    create: Annotated[
        bool, _doc("Create topics that are missing. Ditto's own (`checkpoint_topic`, `own_topic`) are compacted.")
    ] = True
    partitions: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _doc("Partitions of a topic for events; absent: the broker's `num.partitions`. Ditto's own topics have 1.", 6),
    ] = None
    replication_factor: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _doc("Replicas of each partition; absent: the broker's `default.replication.factor`.", 3),
    ] = None
    config: Annotated[
        dict[str, str | int],
        _doc(
            "Settings of a topic for events, by Kafka's names. Ditto's own topics get those of the replicas alone "
            "(`min.insync.replicas`).",
            {"retention.ms": 604800000, "min.insync.replicas": 2},
        ),
    ] = {}


class Kafka(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Topics of Kafka that the events go to, in place of NATS."""

    brokers: Annotated[
        str | list[str],
        _doc(
            "Address of a broker, host and port, or a list of several: the others are found through them.",
            "localhost:9092",
            ["kafka1.example.com:9092", "kafka2.example.com:9092"],
        ),
    ] = "localhost:9092"
    user: Annotated[str | None, _doc("User name for SASL. Goes with `password`.", "ditto")] = None
    password: Annotated[str | None, _doc("Password of `user`.", "${KAFKA_PASSWORD}", mask="whole")] = None
    mechanism: Annotated[
        Literal["plain", "scram-sha-256", "scram-sha-512"], _doc("How SASL shows the password, where `user` is given.")
    ] = "scram-sha-512"
    tls: Annotated[KafkaTls | None, _doc("Connect with TLS. Absent: without. `tls: {}` trusts the system's.")] = None
    allow_plaintext_credentials: Annotated[
        bool,
        _doc(
            "Send the password with `mechanism: plain` to brokers on other machines without TLS. Whoever can read the "
            "network between them gets it. By default Ditto refuses."
        ),
    ] = False
    checkpoint_topic: Annotated[
        str,
        _doc(
            "The compacted topic in which each transaction stores how far it is: the truth about where Ditto goes on. "
            "Pipelines may share it; the record's key is made of system identifier and slot."
        ),
    ] = "ditto.checkpoints"
    own_topic: Annotated[
        str,
        _doc(
            "The compacted topic of descriptions of tables, of control events of snapshots, and of what belongs to the "
            "pipeline: {prefix} is `events.prefix`.",
            "{prefix}._ditto",
        ),
    ] = "{prefix}._ditto"
    topics: Annotated[KafkaTopics, _doc("How topics are created.")] = KafkaTopics()
    ack_timeout_s: Annotated[
        Seconds,
        _doc(
            "How long the end of a transaction may take before the session ends and the next one begins. The broker "
            "aborts a transaction of a Ditto that is gone after twice as long.",
            "10s",
            2.5,
        ),
    ] = field(default=10.0, name="ack_timeout")
    options: Annotated[
        dict[str, str | int | float | bool],
        _doc(
            "Settings of librdkafka, by its names. Refused are those that have keys here, and those that exactness "
            "depends on.",
            {"compression.type": "lz4", "client.rack": "eu-west-1a"},
        ),
    ] = {}

    @property
    def servers(self) -> list[str]:
        """`brokers` as a list, whichever way it was written."""
        return [each.strip() for each in self.brokers.split(",")] if isinstance(self.brokers, str) else self.brokers


def check_brokers(value: str | list[str]) -> str | list[str]:
    """Raises Impossible."""
    given = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
    if not given or not all(_BROKER.fullmatch(each) for each in given):
        raise Impossible(
            "must be host and port of a broker, such as localhost:9092, or a list of them",
            hint="the way to the brokers is not part of the address: TLS is kafka.tls, a user is kafka.user",
        )
    return value


def check_topic(value: str) -> str:
    """Raises Impossible."""
    if not is_topic(value.replace("{prefix}", "p")):
        raise Impossible(
            f"must be the name of a topic: letters, digits, '.', '_' and '-', at most {LONGEST_TOPIC} characters"
        )
    return value


def check_options(value: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    """Raises Impossible."""
    for name in value:
        if name in _REFUSED:
            raise Impossible(f"cannot be given: {_REFUSED[name]}", place=f"kafka.options.{name}", hint="leave it out")
        if name.endswith("_cb"):
            raise Impossible(
                "cannot be given: callbacks are functions", place=f"kafka.options.{name}", hint="leave it out"
            )
    return value


def is_topic(name: str) -> bool:
    """Whether Kafka takes it for a topic."""
    return len(name) <= LONGEST_TOPIC and name not in {".", ".."} and _TOPIC.fullmatch(name) is not None


def contradiction(kafka: Kafka) -> tuple[str, str, str | None] | None:
    """Key, sentence and hint, where keys of the section contradict each other."""
    if (kafka.user is None) != (kafka.password is None):
        missing, given = ("password", "user") if kafka.password is None else ("user", "password")
        return f"kafka.{given}", f"kafka.{given} is given without kafka.{missing}", None
    if kafka.checkpoint_topic == kafka.own_topic:
        return (
            "kafka.own_topic",
            "kafka.checkpoint_topic and kafka.own_topic are the same topic",
            "give them two: the first has records of every pipeline, the second of one",
        )
    return half_given(kafka.tls, "kafka.tls")


KAFKA_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "kafka.brokers": check_brokers,
        "kafka.checkpoint_topic": check_topic,
        "kafka.own_topic": check_topic,
        "kafka.options": check_options,
        "kafka.ack_timeout": check_positive,
    }
)
"""By key, as `validation.CHECKS`."""
