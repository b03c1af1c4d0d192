"""`ditto config`: look at the configuration without starting anything, or make one from another tool's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

from ditto.cli.options import configuration, effective, examples, say
from ditto.config import masked, schema
from ditto.config.importers.debezium_server import read_debezium_server
from ditto.config.importers.wal_listener import read_wal_listener
from ditto.printable_text import indented


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


@config.command(
    "import",
    epilog=examples(
        "ditto config import config.yml > ditto.yaml", "ditto config import application.properties > ditto.yaml"
    ),
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
def import_file(file: Path) -> None:
    """Turn a config.yml of wal-listener, or an application.properties of Debezium Server, into a configuration of
    Ditto.

    Prints YAML; and on standard error which keys have no counterpart, and what to do about each. The names of subjects,
    topics and streams stay the same. References such as ${NAME} are passed on as they are, and so is a password.
    """
    imported = read_debezium_server(file) if file.suffix == ".properties" else read_wal_listener(file)
    click.echo(yaml.safe_dump(imported.settings, sort_keys=False, allow_unicode=True, width=1000), nl=False)
    for note in imported.notes:
        say(f"note: {indented(note)}")
