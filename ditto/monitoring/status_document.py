"""The status: what `/v1/status` answers and `ditto status` shows. Times are RFC 3339 in UTC, durations seconds."""

from __future__ import annotations

from typing import Literal

import msgspec

from ditto.monitoring.configuration_status import ConfigurationStatus
from ditto.monitoring.snapshot_status import RunKind, RunState, RunStatus
from ditto.source.standbys import Standby


class Slot(msgspec.Struct, frozen=True):
    """The replication slot, as PostgreSQL has it."""

    name: str
    active_pid: int | None
    """The walsender that serves the holder; null without one."""
    wal_status: str | None
    """reserved, extended, unreserved or lost."""
    confirmed_lsn: str | None
    """Null while the slot is being created: PostgreSQL waits for the transactions that are open."""
    restart_lsn: str | None
    wal_lsn: str
    """The end of the server's WAL."""
    lag_bytes: int | None
    """From the confirmed LSN to the end of the WAL; null while there is no confirmed LSN."""
    retained_bytes: int
    """WAL that PostgreSQL keeps for the slot."""
    safe_bytes: int | None
    """How much more WAL may be written before the slot can be lost; null without max_slot_wal_keep_size."""


class Stream(msgspec.Struct, frozen=True):
    """The stream, as JetStream has it."""

    name: str
    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    tail: str | None
    """The position of the last message; null where there is none of Ditto's."""
    tail_time: str | None
    """The time of its commit; of a checkpoint: that of storing it."""
    storage: str
    replicas: int
    node: str | None
    """The server that leads it; null where there is no cluster."""
    used_ratio: float | None = None
    """How full the stream is, from 0 to 1, by the nearest limit; null where it has none, or makes room by itself."""


class SinkStatus(msgspec.Struct, frozen=True):
    """A sink that is no stream of JetStream's, as far as it can be seen without reading it all."""

    kind: str
    """file, keyspace (of Redis), stream (of RabbitMQ)."""
    name: str
    """The kind, and which one: the path, how the pipeline's own keys begin."""
    tail: str | None
    """The position of the last message; null where there is none of Ditto's."""
    tail_time: str | None
    """The time of its commit; of a checkpoint: that of storing it."""
    messages: int | None = None
    bytes: int | None = None


class Leader(msgspec.Struct, frozen=True):
    """The Ditto, or another reader, that holds the slot."""

    walsender_pid: int
    address: str | None
    """From where it is connected; null for a Unix socket, and where this role may not see it."""
    since: str | None
    """The time of connecting."""
    host: str | None
    """As its lease says; null for a reader without a lease."""
    host_pid: int | None = None
    """Of its process, on that host."""


class Servers(msgspec.Struct, frozen=True):
    """The status of both servers."""

    at: str
    slot: Slot | None
    """Null where there is none, or PostgreSQL cannot be asked."""
    stream: Stream | None
    """Null where there is none, or NATS cannot be asked."""
    leader: Leader | None
    standbys: list[Standby]
    problems: list[str]
    """Reasons why something is missing here: a server that does not answer."""
    notes: list[str] = []
    """Other things that are not known, although both servers have answered."""
    sink: SinkStatus | None = None
    """Null where the events go to a stream, where there is nothing yet, and where it cannot be looked at."""


class Window(msgspec.Struct, frozen=True):
    """Events that were sent and are not acknowledged yet, and the limits."""

    events: int
    bytes: int
    max_events: int
    max_bytes: int


class StateChange(msgspec.Struct, frozen=True):
    """A state that was entered."""

    at: str
    state: str
    reason: str


class Process(msgspec.Struct, frozen=True):
    """A running Ditto."""

    run_id: str
    version: str
    host: str
    pid: int
    started: str
    state: str
    """starting, connecting, standby, streaming, draining, waiting (for the next session or the sink) or stopped."""
    reason: str
    is_ready: bool
    """Streams or stands by."""
    events: int
    """Sent since it started."""
    stored: int
    """Messages acknowledged since it started, checkpoints included."""
    window: Window
    sessions: dict[str, int]
    """By how they ended: the error's class, `stopped`, or `reloaded`. The one that runs is not among them."""
    rewinds: int
    skipped: int
    fenced: int
    states: list[StateChange]
    """The last ones, the newest last."""
    acknowledged_p50_s: float | None = None
    """How long acknowledgements took in the last minute, the median of one block at a time; null without any."""
    acknowledged_p99_s: float | None = None
    configuration: ConfigurationStatus | None = None
    """Null from a Ditto that does not know how to reload it."""


class SnapshotSummary(msgspec.Struct, frozen=True):
    """A snapshot that has not ended; `/v1/snapshots` has each of its tables."""

    run: str
    kind: RunKind
    state: RunState
    tables: int
    tables_ended: int
    rows: int
    """Stored so far, of all tables."""
    remaining_rows: int
    """By PostgreSQL's statistics."""
    table: str | None
    """The table that is being read."""
    rows_per_s: float | None
    waits_for: str | None = None

    @classmethod
    def of(cls, run: RunStatus) -> SnapshotSummary:
        """That of a run."""
        current = run.current
        return cls(
            run=run.run,
            kind=run.kind,
            state=run.state,
            tables=len(run.tables),
            tables_ended=sum(each.is_ended for each in run.tables),
            rows=run.rows,
            remaining_rows=run.remaining_rows,
            table=None if current is None else f"{current.schema}.{current.table}",
            rows_per_s=run.rows_per_s,
            waits_for=None if current is None else current.waits_for,
        )


class Snapshots(msgspec.Struct, frozen=True):
    """What `/v1/snapshots` answers."""

    pipeline: str
    """The pipeline's name."""
    state: str
    """Of the pipeline in this Ditto: only one that streams knows all runs that have not ended."""
    runs: list[RunStatus]
    """Those that have not ended, and the last ones that this process has seen the end of; the newest last."""

    @property
    def knows_all(self) -> bool:
        """Whether a run that is not among `runs` has ended, or never was."""
        return self.state in {"streaming", "draining"}


class Status(msgspec.Struct, frozen=True):
    """The status of one pipeline."""

    source: Literal["ditto", "servers"]
    """Where it comes from: a running Ditto, or the two servers alone."""
    pipeline: str
    """The pipeline's name."""
    process: Process | None
    """Null where only the servers were asked."""
    lag_s: float | None
    """How far the stream is behind the database; null where that is not known. Of a Ditto that streams: the age of the
    commit that is being stored. Otherwise the time since the tail, which is the most that the lag can be."""
    events_per_s: float | None
    """Over the last seconds; null before there are two looks."""
    servers: Servers = msgspec.field(name="survey")
    """`survey` in the document."""
    servers_age_s: float | None = msgspec.field(default=None, name="survey_age_s")
    """How long ago both servers were asked. `survey_age_s` in the document."""
    snapshots: list[SnapshotSummary] = []
    """Those that have not ended, as far as this process knows."""
