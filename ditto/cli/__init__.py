"""The command line. `main` is the `ditto` command; each command has a file of its own."""

from __future__ import annotations

import asyncio
import errno
import importlib
import platform
import traceback
from typing import TYPE_CHECKING, Any

import click
import structlog

import ditto
from ditto.cli.options import examples, modern, say
from ditto.errors import ConfigError, DittoError
from ditto.log import is_json, mask_secrets
from ditto.printable_text import indented, printable_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger()

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


_RUN = "run"
_PROCESSES = frozenset({_RUN, "serve"})
_COMMANDS = (
    _RUN,
    "check",
    "config",
    "drain",
    "health",
    "nodes",
    "pipelines",
    "preview",
    "reload",
    "serve",
    "slot",
    "snapshot",
    "status",
    "tail",
    "token",
    "verify",
    "wait",
)
"""Each has a file of its own, in which its function has the same name."""


class _Commands(click.Group):
    """Imports a command only when someone asks for it, and turns exceptions into a sentence and an exit code.

    The start of `ditto run` does not wait for the imports of the other commands, a tenth of a second of CPU.
    """

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        return super().make_context(info_name, [modern(argument) for argument in args], *rest, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_COMMANDS, "demo"})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "demo":
            return _demo()
        if cmd_name in _COMMANDS:
            command: click.Command = getattr(importlib.import_module(f"ditto.cli.{cmd_name}"), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (KeyboardInterrupt, asyncio.CancelledError, click.Abort) as error:
            self._trace(ctx)
            raise click.exceptions.Exit(INTERRUPTED) from error
        except DittoError as error:
            raise self._end(ctx, error) from error
        except Exception as error:
            # Not its text, which may quote a row or a password.
            told = DittoError(
                f"an unexpected {type(error).__name__} ended the command",
                hint=f"run with --debug for the traceback: ditto --debug {ctx.invoked_subcommand} …",
            )
            if isinstance(error, OSError) and error.errno in _DISK_FULL and error.filename is None:
                told = DittoError(f"standard output takes no more: {error.strerror}")
            raise self._end(ctx, told, kind=type(error).__name__) from error

    @classmethod
    def _end(cls, ctx: click.Context, error: DittoError, *, kind: str | None = None) -> click.exceptions.Exit:
        """Say why the command ends: where `ditto run` logs JSON, as one line of that."""
        if ctx.invoked_subcommand in _PROCESSES and is_json():
            fields = {**error.context, "kind": kind or type(error).__name__, "exit_code": error.exit_code}
            event = "serve.failed" if ctx.invoked_subcommand == "serve" else "run.failed"
            log.error(event, error=error.message, hint=error.hint, exc_info=ctx.params["debug"], **fields)
        else:
            cls._trace(ctx)
            say(f"ditto: error: {indented(mask_secrets(error.message))}")
            if error.hint:
                say(f"  hint: {indented(mask_secrets(error.hint))}")
        return click.exceptions.Exit(error.exit_code)

    @staticmethod
    def _trace(ctx: click.Context) -> None:
        if ctx.params["debug"]:
            say(printable_lines(mask_secrets(traceback.format_exc().rstrip())))


def _demo() -> click.Command:
    """The demo command, or one that says which package it lacks."""
    try:
        module = importlib.import_module("ditto.cli.demo")
    except ImportError as error:
        problem = f"ditto demo cannot start: {error}"

        def refuse(arguments: Sequence[str]) -> None:
            raise ConfigError(problem, hint="install its packages: pip install 'ditto-cdc[demo]'")

        return click.Command(
            "demo",
            callback=refuse,
            params=[click.Argument(["arguments"], nargs=-1)],
            help="Watch Ditto at work on servers of its own (needs packages that are not installed).",
            context_settings={"ignore_unknown_options": True},
        )
    command: click.Command = module.demo
    return command


def _print_versions(ctx: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if not is_asked or ctx.resilient_parsing:
        return
    import psycopg  # noqa: PLC0415 -- only this needs to know its version

    try:
        decoder = importlib.import_module("ditto.decoding.choose").IMPL
    except (ImportError, DittoError) as error:
        decoder = f"none ({error})"
    click.echo(f"ditto {ditto.__version__}")
    click.echo(f"decoder {decoder}")
    click.echo(f"libpq {psycopg.pq.version_pretty(psycopg.pq.version())}")
    click.echo(f"psycopg {psycopg.__version__} ({psycopg.pq.__impl__})")
    click.echo(f"Python {platform.python_version()}")
    ctx.exit()


@click.group(
    cls=_Commands,
    epilog=examples("ditto run --dsn postgres://localhost:5432/shop --nats-url nats://localhost:4222"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--debug", is_flag=True, envvar="DITTO_DEBUG", show_envvar=True, help="Print tracebacks.  [default: off]")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Print the versions of Ditto and of what it runs on, and exit.",
)
def main(debug: bool) -> None:
    """Every committed PostgreSQL change as an event: in NATS, Kafka, Redis, RabbitMQ or a file, or at a webhook."""
