"""The sinks of Debezium Server: which section of Ditto's takes their keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ditto.config.importers.draft import REFERENCE
from ditto.config.impossible import Impossible
from ditto.config.keys import SECTIONS
from ditto.config.webhook import check_secret

if TYPE_CHECKING:
    from ditto.config.importers.draft import Draft

_NATS: Final = "debezium.sink.nats-jetstream."
_KAFKA: Final = "debezium.sink.kafka."
_PRODUCER: Final = "debezium.sink.kafka.producer."
_REDIS: Final = "debezium.sink.redis."
_RABBIT: Final = "debezium.sink.rabbitmq."
_RABBIT_STREAM: Final = "debezium.sink.rabbitmqstream."
_HTTP: Final = "debezium.sink.http."
_MECHANISMS: Final = {"PLAIN": "plain", "SCRAM-SHA-256": "scram-sha-256", "SCRAM-SHA-512": "scram-sha-512"}
_OPTIONS: Final = ("compression.type", "linger.ms", "batch.size", "client.id", "client.rack")
"""Of Kafka's producer, those that librdkafka has too."""
_JAAS: Final = re.compile(r"\b(username|password)\s*=\s*\"((?:[^\"\\]|\\.)*)\"")


def no_sink(draft: Draft, path: str, kind: str) -> None:
    """Say that the events go somewhere else."""
    draft.note(
        path,
        f"is {kind}, which Ditto has no sink for: consumers have to read from elsewhere, or a bridge does. The rest is "
        "taken over; without a section for a sink the events go to nats",
    )


def jetstream(draft: Draft) -> bool:
    """NATS JetStream."""
    url = draft.take(f"{_NATS}url")
    if url is not None:
        servers = [each.strip() for each in str(url).split(",")]
        draft.put("nats.url", servers if len(servers) > 1 else servers[0])
    for name in ("user", "password"):
        if (value := draft.take(f"{_NATS}auth.{name}")) is not None:
            draft.put(f"nats.{name}", value)
    if draft.take(f"{_NATS}auth.jwt") is not None:
        draft.take(f"{_NATS}auth.seed")
        draft.note(f"{_NATS}auth.jwt", "put JWT and seed into a .creds file, and give nats.creds its path")
    for name in ("keystore", "keystore.password", "password"):
        if draft.take(f"{_NATS}auth.tls.{name}") is not None and name == "keystore":
            draft.note(f"{_NATS}auth.tls.keystore", _pem("nats.tls.ca, nats.tls.cert and nats.tls.key"))
    creates = draft.take(f"{_NATS}create-stream")
    draft.take(f"{_NATS}subjects")
    if str(draft.take(f"{_NATS}storage") or "file") != "file":
        draft.note(f"{_NATS}storage", "Ditto creates streams with file storage")
    draft.note(
        f"{_NATS}create-stream",
        ("Debezium's own is called DebeziumStream: " if str(creates) == "true" else "")
        + "Ditto has to be the only writer of its stream. It makes one of the name nats.stream, DITTO by default, "
        "which cannot have subjects of another stream",
    )
    return True


def kafka(draft: Draft) -> bool:
    """Apache Kafka; False where this version has no such sink."""
    if "kafka" not in SECTIONS:
        return False
    servers = [
        each.strip() for each in str(draft.take(f"{_PRODUCER}bootstrap.servers") or "").split(",") if each.strip()
    ]
    if servers:
        draft.put("kafka.brokers", servers if len(servers) > 1 else servers[0])
    protocol = str(draft.take(f"{_PRODUCER}security.protocol") or "PLAINTEXT").upper()
    if protocol.endswith("SSL") and not protocol.startswith("PLAIN"):
        draft.put("kafka.tls", {})
    jaas = dict(_JAAS.findall(str(draft.take(f"{_PRODUCER}sasl.jaas.config") or "")))
    mechanism = draft.take(f"{_PRODUCER}sasl.mechanism")
    if jaas:
        draft.put("kafka.user", jaas.get("username"))
        draft.put("kafka.password", jaas.get("password"))
        draft.put("kafka.mechanism", _MECHANISMS.get(str(mechanism), "plain"))
    if mechanism is not None and str(mechanism) not in _MECHANISMS:
        draft.note(f"{_PRODUCER}sasl.mechanism", f"is {mechanism}; Ditto has {', '.join(_MECHANISMS)}")
    _stores(draft, _PRODUCER, "kafka")
    if options := {name: value for name in _OPTIONS if (value := draft.take(_PRODUCER + name)) is not None}:
        draft.put("kafka.options", options)
    for name in ("key.serializer", "value.serializer", "acks", "enable.idempotence", "retries", "transactional.id",
                 "max.in.flight.requests.per.connection", "delivery.timeout.ms", "request.timeout.ms"):  # fmt: skip
        if draft.take(_PRODUCER + name) is not None and not name.endswith("serializer"):
            draft.note(_PRODUCER + name, "leave it out: Ditto sets it, so that each event is stored exactly once")
    draft.take(f"{_KAFKA}wait.message.delivery.timeout.ms")
    draft.note(_KAFKA, "Ditto writes in transactions: consumers read with isolation.level=read_committed")
    draft.note(
        _KAFKA,
        'a key of one column is its text (7, not {"id":7}), and so may be in another partition than Debezium\'s: let '
        "consumers of the key read both, and read what Debezium has published before they go on",
    )
    return True


def redis(draft: Draft) -> bool:
    """Redis Streams; False where this version has no such sink."""
    if "redis" not in SECTIONS:
        return False
    is_tls = str(draft.take(f"{_REDIS}ssl.enabled") or "false").lower() == "true"
    address, index = str(draft.take(f"{_REDIS}address") or "localhost:6379"), draft.take(f"{_REDIS}db.index")
    number = f"/{index}" if index not in {None, "0"} else ""
    draft.put("redis.url", f"{'rediss' if is_tls else 'redis'}://{address}{number}")
    for name in ("user", "password"):
        if (value := draft.take(f"{_REDIS}{name}")) is not None:
            draft.put(f"redis.{name}", value)
    _stores(draft, _REDIS, "redis")
    for name in ("null.key", "null.value", "batch.size"):
        draft.take(_REDIS + name)
    form = draft.take(f"{_REDIS}message.format") or "compact"
    draft.note(
        f"{_REDIS}message.format",
        f"is {form}, and an entry of Ditto's has the event in the field data: let consumers read that field",
    )
    for name in ("memory.limit.mb", "memory.threshold.percentage", "buffer.fill.rate", "batch.delay.ms"):
        if draft.take(_REDIS + name) is not None:
            draft.note(_REDIS + name, "redis.max_length limits each stream; a full server makes Ditto wait")
    for path in [path for path in draft.leaves if path.startswith((f"{_REDIS}wait.", f"{_REDIS}retry."))]:
        draft.take(path)
        draft.note(path, "leave it out: Ditto tries again for as long as it takes")
    return True


def rabbitmq_stream(draft: Draft) -> bool:
    """A stream of RabbitMQ."""
    _rabbit_connection(draft, _RABBIT_STREAM, "rabbitmq-stream", 5552)
    if (name := draft.take(f"{_RABBIT_STREAM}stream")) is not None:
        draft.put("rabbitmq.stream.name", name)
    draft.note(
        f"{_RABBIT_STREAM}stream",
        "all events go to one stream, rabbitmq.stream.name, of which Ditto has to be the only writer: name a new one",
    )
    _ack_timeout(draft, _RABBIT_STREAM)
    return True


def rabbitmq(draft: Draft) -> bool:
    """An exchange of RabbitMQ."""
    _rabbit_connection(draft, _RABBIT, "amqp", 5672)
    if name := draft.take(f"{_RABBIT}exchange"):
        draft.put("rabbitmq.exchange.name", name)
    else:
        draft.note(f"{_RABBIT}exchange", "is the default one: bind the queue to the exchange rabbitmq.exchange.name")
    source, key = draft.take(f"{_RABBIT}routingKey.source"), draft.take(f"{_RABBIT}routingKey")
    if key or str(source or "static") != "topic":
        draft.note(f"{_RABBIT}routingKey", "a routing key is the event's subject: events.subject, or events.topics")
    if str(draft.take(f"{_RABBIT}deliveryMode") or 2) != "2":
        draft.note(f"{_RABBIT}deliveryMode", "Ditto's messages are persistent")
    _ack_timeout(draft, _RABBIT)
    return True


def _rabbit_connection(draft: Draft, path: str, scheme: str, usual_port: int) -> None:
    names = ("host", "port", "username", "password", "virtual.host")
    host, port, user, password, vhost = (draft.take(f"{path}connection.{name}") for name in names)
    place = "" if vhost in {None, "/"} else f"/{vhost}"
    draft.put("rabbitmq.url", f"{scheme}://{host or 'localhost'}:{port or usual_port}{place}")
    if user is not None or password is not None:
        draft.put("rabbitmq.user", user or "guest")
        draft.put("rabbitmq.password", password or "guest")


def _ack_timeout(draft: Draft, path: str) -> None:
    if draft.take(f"{path}ackTimeout") is not None:
        draft.note(f"{path}ackTimeout", "rabbitmq.ack_timeout is the like of it, 10s by default")


def http(draft: Draft) -> bool:
    """A webhook."""
    url = str(draft.take(f"{_HTTP}url") or "")
    draft.put("webhook.url", url or "${K_SINK}")
    if (timeout_ms := draft.take(f"{_HTTP}timeout.ms")) is not None:
        draft.put("webhook.timeout", f"{timeout_ms}ms")
    if (kind := draft.take(f"{_HTTP}authentication.type")) is not None:
        secret = draft.take(f"{_HTTP}authentication.webhook.secret")
        if str(kind) == "standard-webhooks":
            _secret(draft, str(secret))
        else:
            for path in [path for path in draft.leaves if path.startswith(f"{_HTTP}authentication.{kind}.")]:
                draft.take(path)
            draft.note(f"{_HTTP}authentication.type", f"is {kind}: Ditto asks nobody for tokens, give webhook.token")
    for name in ("retries", "retry.interval.ms"):
        if draft.take(_HTTP + name) is not None:
            draft.note(_HTTP + name, "leave it out: Ditto tries again for as long as it takes, and never passes over")
    for name in ("headers.encode.base64", "headers.prefix"):
        if draft.take(_HTTP + name) is not None:
            draft.note(_HTTP + name, "what Debezium says of an event in headers is in the body")
    draft.note(
        f"{_HTTP}url",
        "a request of Ditto's has a JSON array of up to webhook.max_events records, whose payload is Debezium's event",
    )
    return True


def _secret(draft: Draft, secret: str) -> None:
    if REFERENCE not in secret:
        try:
            check_secret(secret)
        except Impossible as error:
            draft.note(f"{_HTTP}authentication.webhook.secret", f"{error}: {error.hint}, for the receiver too")
            return
    draft.put("webhook.secret", secret)


def _stores(draft: Draft, prefix: str, section: str) -> None:
    """Key stores and trust stores: those in PEM are taken over."""
    for store, key in (("truststore", "ca"), ("keystore", "cert")):
        location = draft.take(f"{prefix}ssl.{store}.location") or draft.take(f"{prefix}ssl.{store}.path")
        kind = draft.take(f"{prefix}ssl.{store}.type")
        draft.take(f"{prefix}ssl.{store}.password")
        if location is None:
            continue
        if str(kind).upper() == "PEM":
            draft.put(f"{section}.tls.{key}", location)
            if store == "keystore":  # certificate and key in one file
                draft.put(f"{section}.tls.key", location)
        else:
            draft.note(f"{prefix}ssl.{store}.location", _pem(f"{section}.tls.{key}"))
    for name in ("ssl.key.password", "ssl.endpoint.identification.algorithm", "ssl.hostname.verification.enabled"):
        if draft.take(prefix + name) is not None:
            draft.note(prefix + name, "leave it out: keys have no password, and the server's name is always verified")


def _pem(keys: str) -> str:
    return f"Ditto reads PEM: keytool -exportcert -rfc and openssl pkcs12 take them out of the store, for {keys}"


SINKS: Final[Mapping[str, Callable[[Draft], bool]]] = MappingProxyType(
    {
        "nats-jetstream": jetstream,
        "kafka": kafka,
        "redis": redis,
        "rabbitmq": rabbitmq,
        "rabbitmqstream": rabbitmq_stream,
        "http": http,
    }
)
"""By `debezium.sink.type`; each returns whether it has put anything."""
