"""`ditto health`."""

from __future__ import annotations

import click

from ditto import health as heartbeat
from ditto.cli.options import examples


@click.command(epilog=examples("DITTO_HEALTH_FILE=/run/ditto/health ditto health"))
@click.pass_context
def health(ctx: click.Context) -> None:
    """Tell whether the `ditto run` beside this is alive.

    Reads the heartbeat that it writes to the file named by DITTO_HEALTH_FILE. Prints its state, and exits with 1 when
    the heartbeat is missing or older than 30 s.
    """
    ctx.exit(heartbeat.main())
