"""Shared by the commands: the options that set the configuration, made from the model, and examples in the help."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ditto.config import FLAGS, KEYS, ORIGINAL_VARIABLES, Config, load, secrets
from ditto.config.conversion import read_bytes, read_seconds
from ditto.config.impossible import Impossible
from ditto.errors import ConfigError
from ditto.log import keep_secret
from ditto.printable_text import printable_json

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

Function = TypeVar("Function", bound="Callable[..., Any]")


def configuration(*paths: str) -> Callable[[Function], Function]:
    """Give a command `--config` and the flags of the keys in `paths` (without any: of all keys that have one).

    The command gets them as keyword arguments, to be handed to `effective`.
    """

    def decorate(command: Function) -> Function:
        for path in reversed(paths or tuple(FLAGS)):
            command = _flag(path)(command)
        return click.option(
            "-c",
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            envvar="DITTO_CONFIG",
            metavar="FILE",
            help="Configuration file: .yaml, .toml or .json.  [default: none; env var: DITTO_CONFIG]",
        )(command)

    return decorate


def effective(config_file: Path | None, **flags: object) -> Config:
    """The configuration that a command's options, the environment and the file make. Raises ConfigError."""
    _trim_password(os.environ)
    config = load(config_file, {_path(name): value for name, value in flags.items()}, os.environ)
    keep_secret(secrets(config))
    return config


def _trim_password(environ: MutableMapping[str, str]) -> None:
    """Libpq reads this one itself, and takes the line end behind a secret for a part of the password."""
    if (password := environ.get("PGPASSWORD")) and password.endswith(("\n", "\r")):
        environ["PGPASSWORD"] = password.rstrip("\r\n")


def modern(argument: str) -> str:
    """A flag as Ditto 1.x took it (`-slot_name`, with one dash or two) as it is called now."""
    return re.sub(r"^--?(slot|publication|output)[_-](name|plugin)(?==|$)", r"--\1-\2", argument)


def seconds(text: str, option: str) -> float:
    """What a duration on the command line means. Raises ConfigError."""
    try:
        return read_seconds(text)
    except Impossible as error:
        raise ConfigError(f"{option} {error}") from None


def size(text: str, option: str) -> int:
    """What a number of bytes on the command line means. Raises ConfigError."""
    try:
        return read_bytes(text)
    except Impossible as error:
        raise ConfigError(f"{option} {error}") from None


def examples(*lines: str) -> str:
    """The end of a command's help. Its first line tells click not to join the others."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])


def _flag(path: str) -> Callable[[Function], Function]:
    if path == "output_plugin":
        about, default = "Accepted for compatibility: pgoutput is the only one.", "pgoutput"
        choices: tuple[str, ...] = ()
        variables: tuple[str, ...] = (ORIGINAL_VARIABLES[path],)
    else:
        key = KEYS[path]
        about, default, choices, variables = key.description, key.default, key.choices, key.variables
    return click.option(
        *FLAGS[path],
        _argument(path),
        type=click.Choice(choices, case_sensitive=False) if choices else str,
        help=f"{about}  [default: {default}; env var: {', '.join(variables)}]",
    )


# A Python argument cannot hold the dot of a key; no name of a key holds two underscores.
def _argument(path: str) -> str:
    return path.replace(".", "__")


def _path(argument: str) -> str:
    return argument.replace("__", ".")


def say(text: str) -> None:
    """Write a line to standard error. What cannot be written there must not change how the command ends."""
    with suppress(OSError):
        click.echo(text, err=True)


def echo_json(document: bytes) -> None:
    """Print a JSON document; on a terminal without what that would obey."""
    click.echo(printable_json(document.decode()) if sys.stdout.isatty() else document)
