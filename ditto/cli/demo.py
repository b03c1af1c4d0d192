"""`ditto demo`."""

from __future__ import annotations

import click
import uvloop

from ditto.cli.options import examples
from ditto.demo.run import run
from ditto.demo.watch import watch as watch_events


@click.command(epilog=examples("ditto demo", "ditto demo --seconds 30 --rate 20000", "ditto demo --keep"))
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=10.0,
    envvar="DITTO_DEMO_SECONDS",
    show_default=True,
    show_envvar=True,
    help="How long to write.",
)
@click.option(
    "--rate",
    type=click.IntRange(min=1),
    default=10_000,
    envvar="DITTO_DEMO_RATE",
    show_default=True,
    show_envvar=True,
    help="About how many rows to write in a second.",
)
@click.option(
    "--keep",
    is_flag=True,
    envvar="DITTO_DEMO_KEEP",
    show_envvar=True,
    help="Leave it all running after the check, until Ctrl-C.  [default: off]",
)
@click.option(
    "--watch",
    metavar="URL",
    envvar="DITTO_DEMO_WATCH",
    show_envvar=True,
    help="Only print the events of a demo that was started with --keep, as they arrive. The demo tells its URL.",
)
@click.pass_context
def demo(ctx: click.Context, seconds: float, rate: int, keep: bool, watch: str | None) -> None:
    """Watch Ditto at work, on a PostgreSQL and a NATS server of its own.

    Starts both in a temporary folder, writes to a few tables for some seconds while `ditto run` follows, then replays
    the stream and compares it with the tables row by row. Exits with 1 if they differ.
    """
    if watch:
        uvloop.run(watch_events(watch))
    elif not run(seconds=seconds, rows_per_s=rate, keep=keep):
        ctx.exit(1)
