"""Shared by the commands that ask a fleet: where it is, and who asks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ditto import log
from ditto.cli.options import say
from ditto.errors import ConfigError
from ditto.log import keep_secret, mask_secrets
from ditto.printable_text import indented, printable

if TYPE_CHECKING:
    from ditto.api.fleet.documents import Listing, Nodes
    from ditto.api_client.client import FleetClient
    from ditto.errors import FleetError

_LISTENING_S: Final = 10.0
"""How long a command waits for a node on this machine to open its port, which takes up to 5 s from the node's start."""

Function = TypeVar("Function", bound="Callable[..., Any]")


def fleet_options(command: Function) -> Function:
    """Give a command `--server`, `--token` and `--ca`; it gets them as keyword arguments for `open_client`."""
    for option in (
        click.option(
            "--ca",
            "ca",
            type=click.Path(path_type=Path),
            metavar="FILE",
            envvar="DITTO_SERVER_CA",
            show_envvar=True,
            help="Certificate authorities to trust for https, in PEM format.  [default: those of the system]",
        ),
        click.option(
            "--token",
            "token",
            envvar="DITTO_TOKEN",
            show_envvar=True,
            metavar="TOKEN",
            help="Token of the API. On a command line others see it: use the variable.  [default: none]",
        ),
        click.option(
            "--server",
            "server",
            default="http://127.0.0.1:7480",
            envvar="DITTO_SERVER",
            show_envvar=True,
            show_default=True,
            metavar="URL",
            help="A node of the fleet, or several with commas between them: the first that can be reached is asked.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def open_client(server: str, token: str | None, ca: Path | None) -> Iterator[FleetClient]:
    """The client that these options make. Raises ConfigError."""
    from ditto.api_client.client import FleetClient  # noqa: PLC0415 -- other commands need not import it

    log.configure("error", "auto")
    token = token.strip() if token else None
    if token:
        keep_secret([token])
    servers = [each.strip() for each in server.split(",") if each.strip()]
    said: set[str] = set()

    def on_wait(reason: FleetError) -> None:
        if reason.message not in said:
            said.add(reason.message)
            say(f"{printable(mask_secrets(reason.message))}; waiting for it")

    with FleetClient(servers, token=token or None, ca=ca, on_wait=on_wait, listening_s=_LISTENING_S) as client:
        yield client


def json_option(variable: str) -> Callable[[Function], Function]:
    """`--json`."""
    return click.option(
        "--json", "is_json", is_flag=True, envvar=variable, show_envvar=True, help="Print JSON.  [default: text]"
    )


def yes_option(variable: str) -> Callable[[Function], Function]:
    """`--yes`."""
    return click.option(
        "--yes", "is_sure", is_flag=True, envvar=variable, show_envvar=True, help="Do not ask.  [default: ask]"
    )


def confirm(question: str, *, is_sure: bool, what: str) -> bool:
    """Whether to go on. Raises ConfigError where nobody can be asked."""
    if is_sure:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody can be asked whether to {what}: there is no terminal", hint="give --yes")
    return click.confirm(question)


def age_of(found: Listing | Nodes) -> list[str]:
    """Lines where the node that has answered does not know how the fleet is now."""
    if found.is_current:
        return []
    cause = found.cut_off_by
    why = f" ({indented(cause.message)})" if cause is not None else ""
    lines = [
        f"node {printable(found.answered_by)} is cut off from the control plane{why}: this is as of when that began"
    ]
    if cause is not None and cause.hint:
        lines.append(f"  hint: {indented(cause.hint)}")
    return lines
