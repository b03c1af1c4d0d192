"""`ditto serve`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ditto import log
from ditto.cli.options import examples
from ditto.config import load_server
from ditto.config.keys import SERVER
from ditto.log import keep_secret


@click.command(epilog=examples("ditto serve --config server.yaml", "DITTO_NODE=n2 ditto serve"))
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    envvar="DITTO_CONFIG",
    metavar="FILE",
    help="Configuration file of the node: .yaml, .toml or .json.  [default: none; env var: DITTO_CONFIG]",
)
@click.option(
    "--log-format",
    type=click.Choice(SERVER.keys["log.format"].choices, case_sensitive=False),
    help="pretty, json, or auto: pretty on a terminal, otherwise json.  [default: auto; env var: DITTO_LOG_FORMAT]",
)
def serve(config_file: Path | None, log_format: str | None) -> None:
    """Run a node of a fleet: many pipelines, shared out between all nodes with the same control plane.

    The first SIGINT or SIGTERM drains the node: other nodes take its pipelines. The second quits.
    """
    environ = dict(os.environ)
    if log_format:
        environ[SERVER.keys["log.format"].variable] = log_format
    given = environ.get(SERVER.keys["log.format"].variable, "").strip().lower()
    log.configure("info", "json" if given == "json" else "pretty" if given == "pretty" else "auto")
    config = load_server(config_file, environ)
    keep_secret(each for each in (config.nats.password, config.nats.token, config.nats.nkey_seed) if each)
    log.configure(config.log.level, config.log.format)
    from ditto.service import event_loop  # noqa: PLC0415 -- the other commands work where the compiled core does not
    from ditto.service.serve import serve as run_node  # noqa: PLC0415 -- the same

    event_loop.run(run_node(config))
