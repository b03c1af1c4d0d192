"""The status as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.status import Status, Survey

_STYLES = {"streaming": "green", "standby": "cyan", "waiting": "red"}


def status_table(status: Status) -> Table:
    """One line for each thing that there is to know."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(status):
        table.add_row(name, value)
    return table


def _lines(status: Status) -> Iterator[tuple[str, str]]:
    survey = status.survey
    if (process := status.process) is not None:
        style = _STYLES.get(process.state, "yellow")
        yield "ditto", f"[{style}]{process.state}[/] on {process.host} (pid {process.pid}, {process.version})"
        yield "because", escape(process.reason)
        yield "since", process.states[-1].at
    else:
        yield "ditto", "not asked: this is what both servers say"
    yield "slot", _slot(survey)
    yield (
        "lag",
        ", ".join(
            [
                "-" if survey.slot is None or survey.slot.lag_bytes is None else decimal(survey.slot.lag_bytes),
                "-" if status.lag_s is None else f"{'at most ' * (process is None)}{status.lag_s:g} s",
            ]
        ),
    )
    if survey.slot is not None:
        kept = f"{decimal(survey.slot.retained_bytes)} ({survey.slot.wal_status})"
        more = (
            "" if survey.slot.safe_bytes is None else f", the slot is lost after {decimal(survey.slot.safe_bytes)} more"
        )
        yield "retained WAL", kept + more
    yield "events/s", "-" if status.events_per_s is None else f"{status.events_per_s:,g}"
    if process is not None:
        window = process.window
        size = f"{decimal(window.bytes)} of {decimal(window.max_bytes)}"
        yield "window", f"{window.events:,} of {window.max_events:,} events, {size}"
        ended = ", ".join(f"{count} {reason}" for reason, count in sorted(process.attempts.items()))
        yield "attempts", f"1 runs; ended: {ended or 'none'}" if process.state != "waiting" else f"ended: {ended}"
    yield "stream", _stream(survey)
    yield "leader", _leader(survey)
    yield (
        "standbys",
        "\n".join(
            f"{each.address or 'local'} (session {each.pid}, since {each.since or '-'})" for each in survey.standbys
        )
        or "none",
    )
    for note in survey.notes:
        yield "[yellow]not seen[/]", escape(note)
    for problem in survey.problems:
        yield "[red]problem[/]", escape(problem)


def _slot(survey: Survey) -> str:
    slot = survey.slot
    if slot is None:
        return "-"
    if slot.confirmed_lsn is None:
        return f"{slot.name}, being created: PostgreSQL waits for open transactions (ditto check names the oldest)"
    held = "nobody reads it" if slot.active_pid is None else f"held by walsender {slot.active_pid}"
    return f"{slot.name}, {held}, confirmed {slot.confirmed_lsn} of {slot.wal_lsn}"


def _stream(survey: Survey) -> str:
    stream = survey.stream
    if stream is None:
        return "-"
    where = f"{stream.storage}, {stream.replicas} replica{'s' * (stream.replicas != 1)}"
    led = f", led by {stream.node}" if stream.node else ""
    tail = f", tail {stream.tail} ({stream.tail_time})" if stream.tail else ""
    return f"{stream.name}, {stream.messages:,} messages, {decimal(stream.bytes)}, {where}{led}{tail}"


def _leader(survey: Survey) -> str:
    leader = survey.leader
    if leader is None:
        return "none"
    who = leader.host or leader.address or "a reader without a lease"
    return f"{who} (walsender {leader.walsender_pid}, since {leader.since or '-'})"
