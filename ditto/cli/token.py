"""`ditto token`."""

from __future__ import annotations

import json
import sys

import click

from ditto.cli.options import examples, say


@click.command(epilog=examples("ditto token --name ci --role admin"))
@click.option(
    "--name",
    default="ci",
    envvar="DITTO_TOKEN_NAME",
    show_envvar=True,
    show_default=True,
    help="Who it is for, in the audit log.",
)
@click.option(
    "--role",
    type=click.Choice(["read", "operate", "admin"]),
    default="read",
    envvar="DITTO_TOKEN_ROLE",
    show_envvar=True,
    show_default=True,
    help="What its owner may do.",
)
def token(name: str, role: str) -> None:
    """Make a token for the API of a fleet.

    Prints the token on standard output, once: nothing keeps it. Standard error has the entry for auth.tokens of each
    node's configuration, which holds its SHA-256 alone.
    """
    from ditto.api.fleet.auth import digest, new_token  # noqa: PLC0415 -- other commands need not import it

    made = new_token()
    say("# into the configuration of each node:")
    say("auth:\n  tokens:")
    say(f"    - {{name: {json.dumps(name)}, role: {role}, sha256: {digest(made)}}}")
    if sys.stdout.isatty():  # otherwise the two go to different places
        say("# the token, for its owner alone (DITTO_TOKEN):")
    click.echo(made)
