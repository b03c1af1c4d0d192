"""`ditto config`: look at the configuration without starting anything."""

from __future__ import annotations

import json
from typing import Any

import click
import yaml

from ditto.cli.options import configuration, effective, examples
from ditto.config import masked, schema


@click.group(epilog=examples("ditto config show --config ditto.yaml"))
def config() -> None:
    """Look at the configuration."""


@config.command(
    epilog=examples(
        "ditto config show --config ditto.yaml", "ditto config show --config ditto.yaml --format json | jq .nats"
    )
)
@configuration()
@click.option(
    "--format",
    "notation",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    envvar="DITTO_CONFIG_SHOW_FORMAT",
    show_default=True,
    show_envvar=True,
    help="What to print it as.",
)
def show(notation: str, **options: Any) -> None:
    """Print the configuration that `run` would use with the same options, secrets masked."""
    shown = masked(effective(**options))
    if notation == "json":
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), nl=False)


@config.command("schema", epilog=examples("ditto config schema > ditto.schema.json"))
def show_schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
