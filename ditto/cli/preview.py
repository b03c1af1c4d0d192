"""`ditto preview`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ditto import log
from ditto.cli.options import configuration, echo_json, effective, examples, say, seconds, size
from ditto.errors import ConfigError
from ditto.units import counted

if TYPE_CHECKING:
    from ditto.preview.verdict import Verdict


@click.command(
    epilog=examples(
        "ditto preview --config ditto.yaml --table public.orders --limit 5",
        "ditto preview --config new.yaml --wait 1m",
        "ditto preview --config ditto.yaml --since 10m --json | jq 'select(.outcome != \"passed\")'",
    )
)
@configuration("postgres.dsn", "postgres.slot", "postgres.publication")
@click.option(
    "-t",
    "--table",
    metavar="TABLE",
    envvar="DITTO_PREVIEW_TABLE",
    show_envvar=True,
    help="Show rows that are in this table now, as a snapshot would store them.  [default: changes]",
)
@click.option(
    "-n",
    "--limit",
    "limit",
    type=click.IntRange(min=1, max=10_000),
    default=20,
    envvar="DITTO_PREVIEW_LIMIT",
    show_envvar=True,
    help="End after so many changes or rows.  [default: 20]",
)
@click.option(
    "--since",
    metavar="TIME",
    envvar="DITTO_PREVIEW_SINCE",
    show_envvar=True,
    help="Only changes that are there, and were committed since: a duration before now such as 5m, or "
    "2026-01-02T15:04:05Z.  [default: from the oldest on]",
)
@click.option(
    "--wait",
    "wait",
    default="30s",
    envvar="DITTO_PREVIEW_WAIT",
    show_envvar=True,
    help="How long to wait for changes where none are there, or a Ditto reads the slot.  [default: 30s]",
)
@click.option(
    "--max-message",
    "max_message",
    metavar="SIZE",
    default="1MB",
    envvar="DITTO_PREVIEW_MAX_MESSAGE",
    show_envvar=True,
    help="nats-server's max_payload, which is not asked. Of no meaning for a file.  [default: 1MB, as nats-server's]",
)
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    envvar="DITTO_PREVIEW_JSON",
    show_envvar=True,
    help="Print one JSON object a line.  [default: as text, long values cut off]",
)
def preview(
    table: str | None, limit: int, since: str | None, wait: str, max_message: str, is_json: bool, **options: Any
) -> None:
    """Show what a configuration makes of changes: passed or dropped and by which rule, subject, headers, key, event.

    Nothing is stored anywhere, nothing is confirmed, and nothing is created but a slot that is gone with the command's
    connection. Changes are those that the pipeline's slot has not confirmed; where there are none, or a Ditto reads it,
    those that come from now on. What is masked or left out is so here, too. Exits with 1 where Ditto would stop at a
    change.
    """
    from ditto.tail.choose import read_since  # noqa: PLC0415

    wait_s, max_bytes = seconds(wait, "--wait"), size(max_message, "--max-message")
    begin = None if since is None else read_since(since)
    if table is not None and begin is not None:
        raise ConfigError("--since is about changes, and --table shows rows as they are now", hint="give one of them")
    config = effective(**options)
    log.configure("error", config.log.format)
    work = _Preview(is_json=is_json, limit=limit, max_bytes=max_bytes)
    outcomes = asyncio.run(work.run(config, table, begin, wait_s))
    if outcomes["stops"]:
        raise click.exceptions.Exit(1)


class _Preview:
    def __init__(self, *, is_json: bool, limit: int, max_bytes: int) -> None:
        from ditto.preview.show import Lines  # noqa: PLC0415 -- other commands need not import all this

        is_terminal = sys.stdout.isatty()
        self._is_json = is_json
        self._limit = limit
        self._max_bytes = max_bytes
        self._lines = Lines(
            is_coloured=is_terminal and not os.environ.get("NO_COLOR"),
            width=(lambda: shutil.get_terminal_size().columns) if is_terminal else None,
        )
        self._outcomes: Counter[str] = Counter()

    async def run(self, config: Any, table: str | None, since: Any, wait_s: float) -> Counter[str]:
        from ditto.preview.run import Previewed, preview_changes, preview_rows  # noqa: PLC0415

        about = Previewed()
        if table is not None:
            for each in await preview_rows(config, about, table=table, count=self._limit, max_bytes=self._max_bytes):
                self._print(each)
        else:
            changes = preview_changes(config, about, since=since, wait_s=wait_s, max_bytes=self._max_bytes)
            try:
                async for found in changes:
                    if found is None:
                        say(f"Waiting for changes, for {wait_s:g} s at most.")
                    else:
                        self._print(found)
                    if self._outcomes.total() >= self._limit:
                        break
            finally:
                await changes.aclose()  # type: ignore[attr-defined]
        self._say_total(about.source)
        return self._outcomes

    def _print(self, verdict: Verdict) -> None:
        self._outcomes[verdict.outcome] += 1
        if self._is_json:
            echo_json(verdict.dump())
        else:
            click.echo(self._lines.text(verdict))

    def _say_total(self, source: str) -> None:
        total = self._outcomes.total()
        if not total:
            say(f"No change to show: {source}.")
            return
        parts = [f"{self._outcomes[each]:,} {each}" for each in ("passed", "dropped") if self._outcomes[each]]
        if self._outcomes["stops"]:
            parts.append(f"at {self._outcomes['stops']:,} Ditto would stop")
        say(f"{counted(total, 'change')}: {', '.join(parts)}. These were {source}.")
