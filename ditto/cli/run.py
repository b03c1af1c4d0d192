"""`ditto run`."""

from __future__ import annotations

import os
from typing import Any, Literal

import click

from ditto import log
from ditto.cli.options import configuration, effective, examples
from ditto.config import KEYS


@click.command(
    epilog=examples(
        "ditto run --config ditto.yaml", "DB_DSN=postgres://localhost/shop NATS_PUB_URI=nats://localhost ditto run"
    )
)
@configuration()
def run(**options: Any) -> None:
    """Store every change in the sink, until stopped.

    The first SIGINT or SIGTERM stops reading, waits for what is outstanding and confirms it; the second quits. SIGHUP
    reads the configuration again, as ditto reload does; it stops Ditto where the terminal closes, and is ignored under
    nohup.
    """
    log.configure("info", _first_format(options["log__format"]))  # for what is wrong with the configuration
    config = effective(**options)
    log.configure(config.log.level, config.log.format)
    from ditto.service import event_loop  # noqa: PLC0415 -- the other commands work where the compiled core does not
    from ditto.service.run import run as run_process  # noqa: PLC0415 -- the same

    event_loop.run(run_process(config, read=lambda: effective(**options)))


def _first_format(flag: str | None) -> Literal["auto", "pretty", "json"]:
    """The format before the configuration is read, as far as the flag or the environment says it."""
    given = (flag or os.environ.get(KEYS["log.format"].variable, "")).strip().lower()
    return "json" if given == "json" else "pretty" if given == "pretty" else "auto"
