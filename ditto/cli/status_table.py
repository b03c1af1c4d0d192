"""The status as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ditto.printable_text import indented, printable
from ditto.units import counted, size, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.monitoring.configuration_status import ConfigurationStatus
    from ditto.monitoring.status_document import Leader, Process, Servers, SinkStatus, SnapshotSummary, Status, Stream
    from ditto.source.standbys import Standby

_STYLES = {"streaming": "green", "standby": "cyan", "waiting": "red"}


def status_table(status: Status, *, is_of_fleet: bool = False) -> Table:
    """One line for each thing that there is to know. Names and servers' words are made printable, and are no markup.

    In a fleet (`is_of_fleet`) a revision is that of the control plane, and the process counts reloads.
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value, style in _lines(status, is_of_fleet=is_of_fleet):
        table.add_row(name, Text(indented(value), style=style))
    return table


def _lines(status: Status, *, is_of_fleet: bool) -> Iterator[tuple[str, str, str]]:
    """Name, value, style."""
    servers = status.servers
    yield "pipeline", printable(status.pipeline), ""
    if (process := status.process) is not None:
        where = f"{process.state} on {process.host} (pid {process.pid}, {process.version})"
        yield "ditto", where, _STYLES.get(process.state, "yellow")
        yield "because", printable(process.reason), ""
        yield "since", process.states[-1].at, ""
    else:
        yield "ditto", "not asked: this is what can be seen from outside", ""
    yield "slot", _slot(servers), ""
    yield "lag", _lag(status), ""
    if servers.slot is not None:
        kept = f"{size(servers.slot.retained_bytes)} ({servers.slot.wal_status})"
        safe_bytes = servers.slot.safe_bytes
        yield (
            "retained WAL",
            kept + ("" if safe_bytes is None else f", the slot is lost after {size(safe_bytes)} more"),
            "",
        )
    yield "events/s", "-" if status.events_per_s is None else f"{status.events_per_s:,.1f}", ""
    if process is not None:
        yield "acknowledged in", _acknowledged(process), ""
        window = process.window
        bytes_of = f"{size(window.bytes)} of {size(window.max_bytes)}"
        yield "window", f"{window.events:,} of {counted(window.max_events, 'event')}, {bytes_of}", ""
        yield "sessions", _sessions(process), ""
        if process.configuration is not None:
            yield "configuration", *_configuration(process.configuration, is_of_fleet=is_of_fleet)
    for snapshot in status.snapshots:
        yield "snapshot", _snapshot(snapshot), ""
    if servers.sink is not None:
        yield servers.sink.kind, _sink(servers.sink), ""
    elif servers.stream is not None:
        yield "stream", _stream(servers.stream), ""
    else:
        yield "sink", "-", ""
    nobody = "-" if servers.slot is None else "none"  # without a slot, or an answer, nobody can know
    yield "leader", nobody if servers.leader is None else _leader(servers.leader), "" if servers.leader else "red"
    yield "standbys", "\n".join(map(_standby, servers.standbys)) or nobody, ""
    age = "" if status.servers_age_s is None else f", {span(round(status.servers_age_s))} ago"
    yield "servers asked", f"{servers.at}{age}", ""
    for note in servers.notes:
        yield "not seen", note, "yellow"
    for problem in servers.problems:
        yield "problem", problem, "red"


def _slot(servers: Servers) -> str:
    slot = servers.slot
    if slot is None:
        return "-"
    held = "nobody reads it" if slot.active_pid is None else f"held by walsender {slot.active_pid}"
    return f"{printable(slot.name)}, {held}, confirmed {slot.confirmed_lsn} of {slot.wal_lsn}"


def _lag(status: Status) -> str:
    slot = status.servers.slot
    if slot is None and status.lag_s is None:
        return "-"
    behind = "-" if slot is None or slot.lag_bytes is None else size(slot.lag_bytes)
    if status.lag_s is None:
        return behind
    return f"{behind}, {'at most ' * (status.process is None)}{span(status.lag_s)}"


def _acknowledged(process: Process) -> str:
    median_s, p99_s = process.acknowledged_p50_s, process.acknowledged_p99_s
    if median_s is None or p99_s is None:
        return "- (nothing in the last minute)"
    return f"{span(median_s)} at the median, {span(p99_s)} at p99, in the last minute"


def _sessions(process: Process) -> str:
    ended = ", ".join(f"{count:,} {reason}" for reason, count in sorted(process.sessions.items())) or "none"
    return f"ended: {ended}" if process.state in {"waiting", "stopped"} else f"one is running; ended: {ended}"


def _configuration(found: ConfigurationStatus, *, is_of_fleet: bool) -> tuple[str, str]:
    """`revision 2 since …`, in a fleet `since …, reloaded 1 time`, and its style."""
    text = f"revision {found.revision} since {found.loaded_at}"
    if is_of_fleet:
        reloaded = f", reloaded {counted(found.revision - 1, 'time')}" if found.revision > 1 else ""
        text = f"since {found.loaded_at}{reloaded}"
    if found.is_pending:
        return f"{text}; the next one is used when the transaction ends that is being stored", "yellow"
    if found.refusal is not None:
        return f"{text}; another one was refused at {found.refused_at}: {printable(found.refusal)}", "red"
    return text, ""


def _snapshot(snapshot: SnapshotSummary) -> str:
    """`20261126-… (request), reading: 1,200 of about 5,000 rows, public.trades at 1,000 rows/s, 1 of 3 tables done`."""
    done = counted(snapshot.rows, "row")
    if snapshot.remaining_rows:
        done = f"{snapshot.rows:,} of about {counted(snapshot.rows + snapshot.remaining_rows, 'row')}"
    rate = "" if snapshot.rows_per_s is None else f" at {snapshot.rows_per_s:,.0f} rows/s"
    parts = [
        f"{snapshot.run} ({snapshot.kind}), {snapshot.state}: {done}",
        "" if snapshot.table is None else f"{printable(snapshot.table)}{rate}",
        "" if snapshot.tables <= 1 else f"{snapshot.tables_ended:,} of {counted(snapshot.tables, 'table')} done",
        "" if snapshot.waits_for is None else f"waits for {printable(snapshot.waits_for)}",
    ]
    return ", ".join(part for part in parts if part)


def _stream(stream: Stream) -> str:
    where = f"{stream.storage}, {counted(stream.replicas, 'replica')}"
    used = "" if stream.used_ratio is None else f", {stream.used_ratio:.0%} of its limit"
    led = f", led by {printable(stream.node)}" if stream.node else ""
    tail = f", tail {stream.tail} ({stream.tail_time})" if stream.tail else ""
    holds = f"{counted(stream.messages, 'message')}, {size(stream.bytes)}{used}"
    return f"{printable(stream.name)}, {holds}, {where}{led}{tail}"


def _sink(sink: SinkStatus) -> str:
    tail = f"tail {sink.tail} ({sink.tail_time})" if sink.tail else ""
    messages = "" if sink.messages is None else counted(sink.messages, "message")
    holds = "" if sink.bytes is None else size(sink.bytes)
    return ", ".join(
        part for part in (printable(sink.name.removeprefix(f"{sink.kind} ")), messages, holds, tail) if part
    )


def _leader(leader: Leader) -> str:
    who = _who(leader.host, leader.host_pid, leader.address) or "a reader without a lease"
    return f"{who} (walsender {leader.walsender_pid}, since {leader.since or '-'})"


def _standby(standby: Standby) -> str:
    who = _who(standby.host, standby.host_pid, standby.address) or "unknown"
    return f"{who} (session {standby.pid}, since {standby.since or '-'})"


def _who(host: str | None, pid: int | None, address: str | None) -> str | None:
    """`vm, pid 42, from 10.0.0.5`, as much of it as is known."""
    parts = [
        printable(host) if host else None,
        f"pid {pid}" if pid else None,
        f"from {address}" if address else None,
    ]
    return ", ".join(part for part in parts if part) or None
