"""The metrics: names, descriptions, and where their numbers are. Prometheus and OpenTelemetry read this one list.

Every metric has the label `pipeline`, which the exporters add; here are the samples of one pipeline.
Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for what only grows. A label's values
are bounded: the tables beyond the first `MAX_TABLES` count together as `other`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, get_args

from ditto import log_stream
from ditto.config import EVENT_ACTIONS, READ
from ditto.lsn import parse_lsn
from ditto.monitoring.counters import ACK_BOUNDS_S, STAGES, STORED_BOUNDS_S, Histogram
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.monitoring.state import State
from ditto.monitoring.status_document import Slot

MAX_TABLES: Final = 200

Labels = tuple[str, ...]
Sample = tuple[Labels, float]


class Metric(NamedTuple):
    """One metric of which the samples are read on request."""

    name: str
    kind: Literal["counter", "gauge"]
    about: str
    read: Callable[[PipelineMonitor], Iterable[Sample]]
    labels: Labels = ()


class Distribution(NamedTuple):
    """One histogram, in seconds."""

    name: str
    about: str
    read: Callable[[PipelineMonitor], Histogram]
    bounds_s: Sequence[float]


def _counter(name: str, about: str, read: Callable[[PipelineMonitor], float]) -> Metric:
    return Metric(name, "counter", about, lambda monitor: [((), read(monitor))])


def _gauge(name: str, about: str, read: Callable[[PipelineMonitor], float | None]) -> Metric:
    """Without a sample where `read` gives None: the value is not known at the moment."""

    def samples(monitor: PipelineMonitor) -> Iterator[Sample]:
        if (value := read(monitor)) is not None:
            yield (), value

    return Metric(name, "gauge", about, samples)


def _of_slot(name: str, about: str, read: Callable[[Slot], float | None]) -> Metric:
    return _gauge(name, about, lambda monitor: read(monitor.servers.slot) if monitor.servers.slot is not None else None)


def _events(monitor: PipelineMonitor) -> Iterator[Sample]:
    passed = monitor.counters.passed
    tables = dict.fromkeys((schema, table) for schema, table, _ in passed)
    named = set(list(tables)[:MAX_TABLES])
    others: Counter[str] = Counter()
    for (schema, table, action), count in passed.items():
        if (schema, table) in named:
            yield (schema, table, action), count
        else:
            others[action] += count
    for action, count in others.items():
        yield ("other", "other", action), count


def _dropped(monitor: PipelineMonitor) -> Iterator[Sample]:
    counts = monitor.counters.dropped
    named = set(list(counts)[:MAX_TABLES])
    for table, count in counts.items():
        if table in named:
            yield table, count
    if len(counts) > len(named):
        yield ("other", "other"), sum(count for table, count in counts.items() if table not in named)


def _snapshot_rows(monitor: PipelineMonitor) -> Iterator[Sample]:
    return (((schema, table), count) for (schema, table, action), count in _events(monitor) if action == READ)


def _lag_bytes(monitor: PipelineMonitor) -> float | None:
    """The slot's own LSN is some seconds old; a later confirmation counts."""
    slot = monitor.servers.slot
    if slot is None or slot.lag_bytes is None:
        return None
    behind = parse_lsn(slot.wal_lsn) - monitor.counters.confirmed_lsn
    return min(slot.lag_bytes, max(0, behind)) if monitor.state == "streaming" else slot.lag_bytes


def _is_leader(monitor: PipelineMonitor) -> float:
    return float(monitor.state in {"streaming", "draining"})


def _sessions(monitor: PipelineMonitor) -> Iterator[Sample]:
    return (((reason,), count) for reason, count in monitor.counters.sessions.items())


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "ditto_events_total",
        "counter",
        "Events made, by table and action. After a session that failed, events that were not stored yet count again.",
        _events,
        ("schema", "table", "action"),
    ),
    _counter("ditto_events_sent_total", "Events sent to the sink.", lambda m: m.counters.events),
    _counter(
        "ditto_messages_stored_total",
        "Messages that the sink has acknowledged, checkpoints included.",
        lambda m: m.counters.stored,
    ),
    _counter(
        "ditto_oversize_events_total",
        "Events that were too large for a message, and are stored without some columns or as a reference "
        "(events.oversize).",
        lambda m: m.counters.oversize,
    ),
    _counter(
        "ditto_foreign_answers_total",
        "Answers to events that did not come from JetStream, and were ignored.",
        lambda m: m.counters.foreign_answers,
    ),
    _counter(
        "ditto_sink_retries_total",
        "Requests to a webhook that were sent again, in sessions that went on meanwhile.",
        lambda m: m.counters.retries,
    ),
    _counter("ditto_checkpoints_total", "Checkpoints sent to the sink.", lambda m: m.counters.checkpoints),
    _counter(
        "ditto_filtered_events_total",
        "Changes that came from PostgreSQL and that the configuration does not select.",
        lambda m: m.counters.filtered,
    ),
    Metric(
        "ditto_dropped_events_total",
        "counter",
        "Changes that the rules of their table have dropped; ditto_filtered_events_total has them, too.",
        _dropped,
        ("schema", "table"),
    ),
    _counter("ditto_read_bytes_total", "Bytes of changes read from PostgreSQL.", lambda m: m.counters.read_bytes),
    _counter(
        "ditto_sent_bytes_total", "Bytes of events sent to the sink, without headers.", lambda m: m.counters.sent_bytes
    ),
    Metric(
        "ditto_stage_seconds_total",
        "counter",
        "Seconds spent by stage: read (drain the socket and decode), encode (to JSON), publish (frame and write), room "
        "(wait until the window has room: the sink is slower than PostgreSQL).",
        lambda m: [((stage,), m.counters.stage_s[stage]) for stage in STAGES],
        ("stage",),
    ),
    Metric(
        "ditto_state",
        "gauge",
        "1 for the state of the pipeline in this Ditto, 0 for the others.",
        lambda m: [((state,), float(m.state == state)) for state in get_args(State)],
        ("state",),
    ),
    _gauge("ditto_leader", "1 where this Ditto holds the slot, 0 where it stands by or cannot work.", _is_leader),
    _gauge(
        "ditto_standbys",
        "Dittos that stand by for the slot, as PostgreSQL knows them.",
        lambda m: None if m.servers.slot is None else len(m.servers.standbys),
    ),
    _gauge("ditto_lag_bytes", "WAL from the slot's confirmed LSN to the server's current one.", _lag_bytes),
    _gauge(
        "ditto_lag_seconds",
        "The age of the commit that is being stored; 0 when nothing comes. Where this Ditto does not stream: the time "
        "since the stream's tail, if there is WAL after it.",
        lambda m: m.lag_s(),
    ),
    _of_slot("ditto_retained_wal_bytes", "WAL that PostgreSQL keeps for the slot.", lambda slot: slot.retained_bytes),
    _of_slot(
        "ditto_slot_safe_bytes",
        "How much more WAL may be written before the slot can be lost; absent without max_slot_wal_keep_size.",
        lambda slot: slot.safe_bytes,
    ),
    _of_slot("ditto_slot_active", "1 where a process holds the slot.", lambda slot: float(slot.active_pid is not None)),
    _gauge(
        "ditto_slot_confirmed_lsn",
        "The slot's confirmed LSN as a number of bytes: it has to advance.",
        lambda m: (
            parse_lsn(m.servers.slot.confirmed_lsn)
            if m.servers.slot is not None and m.servers.slot.confirmed_lsn is not None
            else None
        ),
    ),
    _gauge("ditto_window_events", "Messages sent and not yet acknowledged.", lambda m: m.counters.outstanding),
    _gauge("ditto_window_bytes", "The same in bytes.", lambda m: m.counters.outstanding_bytes),
    _gauge("ditto_window_max_events", "delivery.max_in_flight.", lambda m: m.config.delivery.max_in_flight),
    _gauge("ditto_window_max_bytes", "delivery.max_in_flight_bytes.", lambda m: m.config.delivery.max_in_flight_bytes),
    _gauge(
        "ditto_stream_messages",
        "Messages in the stream; absent where the sink is a file.",
        lambda m: None if m.servers.stream is None else m.servers.stream.messages,
    ),
    _gauge(
        "ditto_stream_bytes",
        "Bytes in the stream; absent where the sink is a file.",
        lambda m: None if m.servers.stream is None else m.servers.stream.bytes,
    ),
    _gauge(
        "ditto_stream_used_ratio",
        "How full the stream is, from 0 to 1, by the nearest of its limits; absent where it has none, or makes room by "
        "itself (discard: old).",
        lambda m: None if m.servers.stream is None else m.servers.stream.used_ratio,
    ),
    _gauge(
        "ditto_gap_timestamp_seconds",
        "When this process last went on after events that are missing for good (delivery.on_gap: continue), in seconds "
        "since 1970; absent where it did not.",
        lambda m: m.counters.gap_at,
    ),
    Metric(
        "ditto_snapshot_rows_total",
        "counter",
        "Rows that snapshots have read, by table. After a session that failed, rows not stored yet count again.",
        _snapshot_rows,
        ("schema", "table"),
    ),
    _gauge(
        "ditto_snapshot_running",
        "Snapshots that have begun, or wait for their turn, and have not ended; those that are paused not counted.",
        lambda m: sum(each.state != "paused" for each in m.counters.snapshots.unended()),
    ),
    _gauge(
        "ditto_snapshot_paused",
        "Snapshots that are paused.",
        lambda m: sum(each.state == "paused" for each in m.counters.snapshots.unended()),
    ),
    _gauge(
        "ditto_snapshot_rows_remaining_estimate",
        "Rows that are left to read of all snapshots that have not ended, by PostgreSQL's statistics of the tables.",
        lambda m: sum(each.remaining_rows for each in m.counters.snapshots.unended()),
    ),
    Metric(
        "ditto_sessions_total",
        "counter",
        "Sessions that have ended, by the error's class, or `stopped`.",
        _sessions,
        ("reason",),
    ),
    _counter(
        "ditto_rewinds_total",
        "Sessions that began with the slot behind the sink's tail, so that changes came again.",
        lambda m: m.counters.rewinds,
    ),
    _counter(
        "ditto_skipped_duplicates_total",
        "Changes that came again and were in the sink already.",
        lambda m: m.counters.skipped,
    ),
    _counter(
        "ditto_fenced_total",
        "Messages that the sink refused because another writer's came before.",
        lambda m: m.counters.fenced,
    ),
    _counter(
        "ditto_ended_holders_total",
        "Walsenders of dead or cut off Dittos that this one ended to take over.",
        lambda m: m.counters.ended_holders,
    ),
    _counter(
        "ditto_decode_errors_total",
        "Sessions that ended because data from PostgreSQL could not be decoded.",
        lambda m: m.counters.sessions["DecodeError"],
    ),
    _gauge(
        "ditto_lease_missing",
        "1 where the lease cannot be written or read: a takeover may take as long as wal_sender_timeout.",
        lambda m: float(m.counters.is_without_lease),
    ),
    _counter(
        "ditto_log_lost_lines_total",
        "Lines of the process's log that could not be written: a full disk, or a pipe that is closed or not read.",
        lambda _: log_stream.lost_lines(),
    ),
    _gauge(
        "ditto_survey_problems",
        "Servers that did not answer when Ditto last asked for the slot and the stream.",
        lambda m: len(m.servers.problems),
    ),
)

DISTRIBUTIONS: Final[tuple[Distribution, ...]] = (
    Distribution(
        "ditto_acknowledgement_seconds",
        "From sending the last event of a block to its acknowledgement; one block at a time, 20 a second at most.",
        lambda m: m.counters.ack_s,
        ACK_BOUNDS_S,
    ),
    Distribution(
        "ditto_commit_to_stored_seconds",
        "From the commit of the last event of a block to its acknowledgement; one block at a time, "
        "20 a second at most.",
        lambda m: m.counters.stored_s,
        STORED_BOUNDS_S,
    ),
)

PIPELINE: Final = "pipeline"
"""The label that every metric has."""

LABEL_VALUES: Final = {
    PIPELINE: "`name` of the configuration, by default the name of the slot",
    "action": ", ".join(EVENT_ACTIONS),
    "stage": ", ".join(STAGES),
    "state": ", ".join(get_args(State)),
    "table": f"the first {MAX_TABLES} tables that have events; the others count as `other`",
    "reason": "the classes of errors, see `ditto/errors/`; `stopped`, and `reloaded`",
}
