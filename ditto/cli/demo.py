"""`ditto demo`."""

from __future__ import annotations

import click
import uvloop

from ditto.cli.options import examples
from ditto.demo.watch import watch as watch_events


@click.command(
    epilog=examples("ditto demo", "ditto demo --seconds 30 --rate 20000", "ditto demo --keep", "ditto demo --fleet")
)
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
    "--fleet",
    is_flag=True,
    envvar="DITTO_DEMO_FLEET",
    show_envvar=True,
    help="Two nodes of ditto serve and three databases; one node is killed.  [default: one ditto run]",
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
def demo(ctx: click.Context, seconds: float, rate: int, fleet: bool, keep: bool, watch: str | None) -> None:
    """Watch Ditto at work, on a PostgreSQL and a NATS server of its own.

    Starts both in a temporary folder, writes to a few tables for some seconds while `ditto run` follows, then replays
    the stream and compares it with the tables row by row. Exits with 1 if they differ.

    With --fleet two nodes of `ditto serve` follow three databases; the one that runs the most pipelines is killed
    (kill -9) while all three are written to, and the other one takes over.
    """
    if watch:
        uvloop.run(watch_events(watch))
        return
    if fleet:
        from ditto.demo.fleet import run_fleet as play  # noqa: PLC0415 -- the plain demo needs no client of the API
    else:
        from ditto.demo.run import run as play  # noqa: PLC0415 -- with the other
    if not play(seconds=seconds, rows_per_s=rate, keep=keep):
        ctx.exit(1)
