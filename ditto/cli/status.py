"""`ditto status`."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.live import Live

from ditto import log
from ditto.cli.options import configuration, echo_json, effective, examples, seconds
from ditto.cli.show import show
from ditto.cli.status_table import status_table

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ditto.monitoring.status_document import Status


@click.command(
    epilog=examples(
        "ditto status --config ditto.yaml --watch", "ditto status --url http://localhost:8080 --json | jq .lag_s"
    )
)
@configuration("postgres.dsn", "postgres.slot", "nats.url", "nats.stream")
@click.option(
    "--url",
    envvar="DITTO_STATUS_URL",
    show_envvar=True,
    metavar="URL",
    help="Ask the Ditto that listens there.  [default: the one of http.listen, or both servers]",
)
@click.option(
    "--watch",
    is_flag=True,
    envvar="DITTO_STATUS_WATCH",
    show_envvar=True,
    help="Go on until interrupted.  [default: off]",
)
@click.option(
    "--every",
    default="2s",
    envvar="DITTO_STATUS_EVERY",
    show_envvar=True,
    help="How often, with --watch.  [default: 2s]",
)
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    envvar="DITTO_STATUS_JSON",
    show_envvar=True,
    help="Print one JSON object a line, sizes in bytes.  [default: a table]",
)
def status(url: str | None, watch: bool, every: str, is_json: bool, **options: Any) -> None:
    """Print how the pipeline is: slot, lag, throughput, window, sessions, stream, leader and standbys.

    A running Ditto is asked over HTTP (`http.listen`); where none answers, both servers are. Exits with 1 when nobody
    holds the slot, or one of the servers cannot be asked.
    """
    period_s = seconds(every, "--every")
    config = effective(**options)
    log.configure("error", config.log.format)
    from ditto.monitoring.status_client import statuses  # noqa: PLC0415 -- other commands need not import both clients

    if not asyncio.run(_print(statuses(config, url=url, period_s=period_s), is_json=is_json, is_watching=watch)):
        raise click.exceptions.Exit(1)


async def _print(found: AsyncGenerator[Status], *, is_json: bool, is_watching: bool) -> bool:
    """Print one status, or all that come; returns whether the slot is held and both servers have answered."""
    console = Console()
    with ExitStack() as stack:
        live = None
        if is_watching and not is_json and console.is_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
        async with aclosing(found):
            async for each in found:
                if is_json:
                    echo_json(msgspec.json.encode(each))
                elif live is not None:
                    live.update(status_table(each), refresh=True)
                else:
                    show(status_table(each))
                if not is_watching:
                    return each.servers.leader is not None and not each.servers.problems
    return True
