"""`ditto run`."""

from __future__ import annotations

from typing import Any

import click
import uvloop

from ditto import log
from ditto.cli.options import configuration, effective, examples


@click.command(
    epilog=examples(
        "ditto run --config ditto.yaml", "DB_DSN=postgres://localhost/shop NATS_PUB_URI=nats://localhost ditto run"
    )
)
@configuration()
def run(**options: Any) -> None:
    """Store every change in the stream, until stopped.

    The first SIGINT or SIGTERM stops reading, waits for what is outstanding and confirms it; the second quits.
    """
    config = effective(**options)
    log.configure(config.log.level, config.log.format)
    from ditto import pipeline  # noqa: PLC0415 -- the other commands work where the compiled core does not

    uvloop.run(pipeline.run(config))
