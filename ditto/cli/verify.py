"""`ditto verify`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ditto import log
from ditto.cli.options import configuration, effective, examples, seconds
from ditto.cli.show import show
from ditto.printable_text import printable
from ditto.units import counted

if TYPE_CHECKING:
    from ditto.verify.difference import Unjudged
    from ditto.verify.run import Report

_SHOWN = 20
_TABLES_SHOWN = 5
"""For one reason."""


@click.command(epilog=examples("ditto verify --config ditto.yaml", "ditto verify --json | jq .differences"))
@configuration("postgres.dsn", "postgres.publication", "nats.url", "nats.stream", "events.prefix")
@click.option(
    "--timeout",
    "timeout",
    default="10s",
    envvar="DITTO_VERIFY_TIMEOUT",
    show_envvar=True,
    help="How long the events may take to catch up with the tables first.  [default: 10s]",
)
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    envvar="DITTO_VERIFY_JSON",
    show_envvar=True,
    help="Print one JSON object.  [default: a table]",
)
@click.pass_context
def verify(ctx: click.Context, /, timeout: str, is_json: bool, **options: Any) -> None:
    """Replay everything that is stored and compare it with the tables, row by row.

    Exits with 1 when they differ, or a table cannot be read. What the events cannot tell is named and not judged: rows
    that ALTER TABLE changed, tables that were dropped. Nobody should write to the tables meanwhile. Of a row only the
    key is shown. The copy of the tables is held in memory.
    """
    timeout_s = seconds(timeout, "--timeout")
    config = effective(**options)
    log.configure(config.log.level, config.log.format)
    from ditto.verify.run import verify as run  # noqa: PLC0415 -- other commands need not import both clients

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step)
            bar.update(tasks[step], completed=done, total=total)

        report = asyncio.run(run(config, timeout_s=timeout_s, on_progress=on_progress))
    if is_json:
        lists = {name: [each._asdict() for each in getattr(report, name)] for name in ("differences", "unjudged")}
        click.echo(json.dumps({**asdict(report), **lists}))
    else:
        _print(report)
    if report.differences or any(each.is_obstacle for each in report.unjudged):
        ctx.exit(1)


def _print(report: Report) -> None:
    count = len(report.differences)
    for difference in report.differences[:_SHOWN]:
        click.echo(f"DIFFERENT  {printable(str(difference))}")
    if count > _SHOWN:
        click.echo(f"           and {count - _SHOWN:,} more: --json lists them all")
    for reason, tables in _by_reason(report.unjudged).items():
        more = f" and {len(tables) - _TABLES_SHOWN:,} more" if len(tables) > _TABLES_SHOWN else ""
        click.echo(printable(f"NOT JUDGED {', '.join(tables[:_TABLES_SHOWN])}{more}: {reason}"))
    unjudged = len({each.table for each in report.unjudged})
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("events", f"{report.events:,}"),
        ("snapshots", f"{counted(report.reads, 'row')} read" if report.reads else ""),
        ("messages", f"{report.messages:,}, of which no table is made" if report.messages else ""),
        (f"{report.sink}'s tail", report.tail),
        ("compared", f"{counted(report.rows, 'row')} of {counted(report.tables, 'table')}"),
        ("not judged", counted(unjudged, "table") if unjudged else ""),
        *(("note", note) for note in report.notes),
        ("result", _result(count, report.sink, is_whole=not report.unjudged)),
    ):
        if value:
            table.add_row(name, Text(printable(value)))
    show(table)


def _by_reason(unjudged: list[Unjudged]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in unjudged:
        found.setdefault(each.reason, []).append(each.table)
    return found


def _result(count: int, sink: str, *, is_whole: bool) -> str:
    if count:
        return counted(count, "difference")
    return f"{sink} equals tables" if is_whole else f"{sink} equals tables, as far as it can tell"
