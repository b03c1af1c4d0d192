"""The configuration: every key, its type, its default and its documentation.

All documentation of a key (the reference, the JSON Schema, `--help`) is generated from here.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from ditto.config.documented import Seconds
from ditto.config.documented import documented as _doc
from ditto.config.events import Events
from ditto.config.kafka import Kafka
from ditto.config.nats_connection import NatsConnection
from ditto.config.placement import Placement
from ditto.config.rabbitmq import RabbitMQ
from ditto.config.redis import Redis
from ditto.config.snapshot import Snapshot
from ditto.config.webhook import Webhook


class Postgres(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the changes come from."""

    dsn: Annotated[
        str,
        _doc(
            "Connection string of the database, in any notation that libpq reads (URL or key=value). A `replication` "
            "parameter is accepted and ignored. Without `sslmode`, a server on another machine that does TLS is "
            "verified. Give no password on a command line, where others see it: use the file, the environment or "
            "`.pgpass`.",
            "postgres://ditto@db.example.com:5432/shop?sslmode=verify-full",
            mask="dsn",
        ),
    ] = "postgres://localhost:5432/postgres"
    slot: Annotated[
        str,
        _doc("Name of the replication slot: lower-case letters, digits and underscores, at most 63.", "ditto"),
    ] = "ditto"
    publication: Annotated[
        str,
        _doc("Name of the publication. One that exists is used as it is, row filters included.", "ditto"),
    ] = "ditto"
    create: Annotated[bool, _doc("Create the publication and the slot at start where they are missing.")] = True
    failover: Annotated[
        bool,
        _doc(
            "Let standbys keep a copy of the slot (`sync_replication_slots` there), so that Ditto goes on with the one "
            "that is promoted. An existing slot is altered. PostgreSQL 17 or later."
        ),
    ] = False
    allow_missing_identity: Annotated[
        bool,
        _doc(
            "Create the publication even if it has tables without a usable replica identity. PostgreSQL then refuses "
            "the application's own UPDATE and DELETE on those tables."
        ),
    ] = False


class ObjectStore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where events go that no message can hold (`events.oversize: object_store`)."""

    bucket: Annotated[
        str, _doc("Name of the bucket, which is created where it is missing (`nats.create`).", "shop_events")
    ] = "ditto_events"
    ttl_s: Annotated[
        Seconds,
        _doc(
            "How long an object is kept; `0s` is for ever. Holds for a bucket that Ditto creates. No shorter than the "
            "stream keeps its messages: a reference to an object that is gone is of no use.",
            "720h",
        ),
    ] = field(default=0.0, name="ttl")


class Nats(NatsConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the events go. At most one of user, token, creds and nkey_seed may be given."""

    stream: Annotated[str, _doc("Name of the JetStream stream. Ditto is its only writer.", "DITTO")] = "DITTO"
    create: Annotated[
        bool, _doc("Create the stream where it is missing (file storage), and add the subjects it needs.")
    ] = True
    replicas: Annotated[int, Meta(ge=1, le=5), _doc("Copies of the stream when Ditto creates it, from 1 to 5.", 3)] = 1
    object_store: Annotated[
        ObjectStore, _doc("Where events go that no message can hold (`events.oversize: object_store`).")
    ] = ObjectStore()


class Delivery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How events are delivered, whatever stores them."""

    max_in_flight: Annotated[
        int, Meta(ge=1), _doc("How many messages may be sent and not yet acknowledged. Reading pauses at the limit.")
    ] = 16_000
    max_in_flight_bytes: Annotated[
        int, Meta(ge=1), _doc("How many bytes may be sent and not yet acknowledged. Reading pauses at the limit.")
    ] = 33_554_432
    confirm_delay_s: Annotated[
        Seconds,
        _doc(
            "How long after its acknowledgement an event is confirmed to PostgreSQL. nats-server acknowledges before "
            "its file is synchronised to the disk (its `sync_interval`, two minutes by default): what a crash of the "
            "machine then takes away, PostgreSQL still has, and Ditto sends it again. It costs retained WAL only.",
            "2m",
        ),
    ] = field(default=0.0, name="confirm_delay")
    lease_ttl_s: Annotated[
        Seconds,
        _doc(
            "Where several Dittos share a slot, one works and the others stand by. The longest time that the one that "
            "works may be silent before a standby ends its connection to PostgreSQL and takes its place. The lease is "
            "in the key-value bucket `ditto_leases` and is renewed every third of this time. At least `1s`; with `0s`, "
            "and where the sink keeps none (a file), there is no lease, and a standby waits until PostgreSQL itself "
            "drops the connection (`wal_sender_timeout`).",
            "10s",
            0,
        ),
    ] = field(default=10.0, name="lease_ttl")
    on_gap: Annotated[
        Literal["stop", "continue", "snapshot"],
        _doc(
            "The reaction when events are missing for good, because the slot is after the sink's last event: stop "
            "with an error, continue after the gap, or continue and store a snapshot of every selected table, after "
            "which consumers are right again. A second gap during that snapshot stops."
        ),
    ] = "stop"

    @property
    def accepts_gap(self) -> bool:
        """Events that are missing for good do not stop the pipeline."""
        return self.on_gap != "stop"


class File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that the events go to, one a line, in place of NATS."""

    path: Annotated[
        str,
        _doc(
            "Path of the file, which is created where it is missing. Its last line is where Ditto goes on after a "
            "restart. `-` writes to standard output, which keeps nothing: after a restart the last transaction comes "
            "again.",
            "/var/lib/ditto/events.jsonl",
            "-",
        ),
    ]


class Http(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Ditto says about itself over HTTP: health, readiness, metrics, status."""

    listen: Annotated[
        str | None,
        _doc(
            "Where to listen: `host:port`, or `:port` for every address of the machine. Serves `/healthz`, `/readyz`, "
            "`/metrics`, `/v1/status` and `/v1/snapshots`. Absent: no HTTP at all.",
            ":8080",
            "127.0.0.1:8080",
        ),
    ] = None
    token: Annotated[
        str | None,
        _doc(
            "What a client has to send (`Authorization: Bearer TOKEN`) for everything but `/healthz`, `/readyz` and "
            "`/ready`, which then give no reasons. `ditto status` sends it. Absent: every client that can connect may "
            "read, and only where `listen` is a loopback address can snapshots be started and changed, and the "
            "configuration be reloaded, over HTTP.",
            "${DITTO_TOKEN}",
            mask="whole",
        ),
    ] = None
    hosts: Annotated[
        list[str],
        _doc(
            "Names under which clients reach it, as the Host header has them. Always allowed: addresses, the machine's "
            "own name, names without a dot, and those that end in `.local`, `.localhost`, `.internal`, `.svc` or "
            "`.cluster.local`. `*` allows all.",
            ["ditto.example.com"],
        ),
    ] = []


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Ditto says about itself, on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _doc("The least severe level that is written.")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "pretty", "json"], _doc("pretty, json, or auto: pretty on a terminal, otherwise json.")
    ] = "auto"


SINKS: Final = ("nats", "kafka", "redis", "rabbitmq", "webhook", "file")
"""The sections that say where the events go. At most one of them may be given; without any, events go to `nats`."""


class PipelineConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of one pipeline: one slot, one sink, and everything between them."""

    name: Annotated[
        str | None,
        _doc(
            "Name of the pipeline in metrics, status and logs: letters, digits, `.`, `_` and `-`, the first a letter "
            "or a digit, at most 63. By default the name of the slot.",
            "shop",
        ),
    ] = None
    postgres: Annotated[Postgres, _doc("Where the changes come from.")] = Postgres()
    events: Annotated[Events, _doc("Which changes become events, and on which subjects.")] = Events()
    delivery: Annotated[Delivery, _doc("How events are delivered, whatever stores them.")] = Delivery()
    snapshot: Annotated[
        Snapshot, _doc("The rows that are in the tables already, as READ events among the changes.")
    ] = Snapshot()
    placement: Annotated[Placement, _doc("Where a fleet (`ditto serve`) runs it; `ditto run` ignores it.")] = (
        Placement()
    )
    nats: Annotated[Nats, _doc("Where the events go, unless another sink is given.")] = Nats()
    kafka: Annotated[Kafka | None, _doc("Topics of Kafka that the events go to, in place of NATS.")] = None
    redis: Annotated[Redis | None, _doc("Streams of Redis or Valkey that the events go to, in place of NATS.")] = None
    rabbitmq: Annotated[
        RabbitMQ | None, _doc("A stream or an exchange of RabbitMQ that the events go to, in place of NATS.")
    ] = None
    webhook: Annotated[Webhook | None, _doc("A receiver that gets the events by HTTP POST, in place of NATS.")] = None
    file: Annotated[File | None, _doc("A file that the events go to, one a line, in place of NATS.")] = None

    @property
    def label(self) -> str:
        """The pipeline's name, or that of its slot."""
        return self.postgres.slot if self.name is None else self.name

    @property
    def keeps_nothing(self) -> bool:
        """Events go to a webhook or an exchange, where nothing can be read again: the slot alone says how far it is."""
        return self.webhook is not None or (self.rabbitmq is not None and self.rabbitmq.has_exchange)

    @property
    def sink(self) -> str:
        """The section of the sink that is used, one of SINKS."""
        return next((name for name in SINKS[1:] if getattr(self, name) is not None), SINKS[0])


class Config(PipelineConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration: that of the pipeline, and what belongs to the process."""

    http: Annotated[Http, _doc("What Ditto says about itself over HTTP.")] = Http()
    log: Annotated[Log, _doc("What Ditto says about itself, on standard error.")] = Log()
