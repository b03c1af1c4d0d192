"""The snapshots as a table for people, and as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec
from rich.table import Table
from rich.text import Text

from ditto.cli.options import echo_json
from ditto.cli.show import show
from ditto.errors import ConfigError
from ditto.monitoring.status_document import Snapshots
from ditto.printable_text import printable
from ditto.units import counted, span

if TYPE_CHECKING:
    from ditto.monitoring.snapshot_status import RunStatus, TableStatus

_TABLES_SHOWN = 30
"""Of one run."""
STYLES = {"reading": "green", "done": "cyan", "failed": "red", "cancelled": "yellow", "paused": "yellow"}


def print_once(found: Snapshots, run: str | None, *, is_json: bool) -> bool:
    """Print all runs, or this one; returns whether that one has not failed. Raises ConfigError where there is none."""
    runs = [each for each in found.runs if run in {None, each.run}]
    if run is not None and not runs:
        raise ConfigError(
            f"there is no run {run[:40]!r}" if found.knows_all else f"this Ditto does not stream ({found.state})",
            hint="without RUN all are listed; one that has ended is forgotten when Ditto is started again"
            if found.knows_all
            else "ask the Ditto that streams: --url",
        )
    if is_json:
        echo_json(msgspec.json.encode(found if run is None else msgspec.structs.replace(found, runs=runs)))
    elif not runs:
        click.echo("There is no snapshot." if found.knows_all else f"This Ditto does not stream ({found.state}).")
    else:
        for number, each in enumerate(runs):
            if number:
                click.echo()
            show(run_table(each))
    return run is None or not any(each.state in {"failed", "cancelled"} for each in runs)


def run_table(run: RunStatus) -> Table:
    """A run, and below it its tables: those that have failed, those that are read, and as many others as fit."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row(f"run {run.run}", Text(_about(run), style=STYLES.get(run.state, "")))
    shown = sorted(run.tables, key=lambda each: each.state in {"queued", "done"})[:_TABLES_SHOWN]
    kept = {id(each) for each in shown}
    for each in run.tables:
        if id(each) in kept:
            table.add_row(f"  {printable(each.schema)}.{printable(each.table)}", _text(each))
    if len(run.tables) > len(shown):
        table.add_row("  …", f"and {counted(len(run.tables) - len(shown), 'table')} more")
    return table


def _about(run: RunStatus) -> str:
    parts = [
        f"{run.state}, {run.kind}, {printable(run.requested_at)}",
        "" if len(run.tables) <= 1 else f"{sum(each.is_ended for each in run.tables):,} of {len(run.tables):,} tables",
        progress(run),
        f"where {printable(run.where)}" if run.where else "",
        f"at most {run.max_rows_per_s:,} rows/s" if run.max_rows_per_s else "",
        _why(run),
    ]
    return ", ".join(part for part in parts if part)


def _text(table: TableStatus) -> Text:
    parts = [
        table.state,
        progress(table),
        f"waits for {printable(table.waits_for)}" if table.waits_for else "",
        _why(table),
    ]
    return Text(", ".join(part for part in parts if part), style=STYLES.get(table.state, ""))


def _why(what: RunStatus | TableStatus) -> str:
    if not what.reason:
        return ""
    return printable(what.reason) + (f" ({printable(what.hint)})" if what.hint else "")


def progress(what: RunStatus | TableStatus) -> str:
    """`1,200 of about 5,000 rows, 800 rows/s, 5 s left`, as much of it as is known."""
    if what.is_ended:
        return counted(what.rows, "row")
    left = what.remaining_rows
    done = f"{what.rows:,} of about {counted(what.rows + left, 'row')}" if left else counted(what.rows, "row")
    parts = [done]
    if rate := what.rows_per_s:
        parts.append(f"{rate:,.0f} rows/s")
        if left:
            parts.append(f"{span(max(1, round(left / rate)))} left")
    return ", ".join(parts)
