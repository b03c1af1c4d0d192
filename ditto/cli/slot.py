"""`ditto slot`: look at the replication slot, or remove it, over an ordinary connection."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from ditto.cli.options import configuration, effective, examples
from ditto.cli.show import show
from ditto.errors import ConfigError, SlotInUse, SlotMissing
from ditto.lsn import format_lsn
from ditto.printable_text import printable
from ditto.source.slot import Slot, drop_slot, find_slot
from ditto.source.sql import open_control
from ditto.units import size


async def _find(dsn: str, name: str) -> Slot:
    """The slot. Raises SlotMissing."""
    async with open_control(dsn) as control:
        found = await find_slot(control, name)
    if found is None:
        raise SlotMissing(
            f"there is no replication slot {name}",
            hint="ditto run creates it unless postgres.create is false; ditto config show tells which slot is meant",
            slot=name,
        )
    return found


async def _drop(dsn: str, name: str) -> None:
    async with open_control(dsn) as control:
        await drop_slot(control, name)


@click.group(epilog=examples("ditto slot status --config ditto.yaml"))
def slot() -> None:
    """Look at the replication slot, or drop it."""


@slot.command(
    epilog=examples(
        "ditto slot status --config ditto.yaml",
        "ditto slot status --dsn postgres://localhost/shop --json | jq .lag_bytes",
    )
)
@configuration("postgres.dsn", "postgres.slot")
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    envvar="DITTO_SLOT_STATUS_JSON",
    show_envvar=True,
    help="Print one JSON object, sizes in bytes.  [default: a table]",
)
def status(is_json: bool, **options: Any) -> None:
    """Print how far the slot is, and how much WAL it holds back."""
    settings = effective(**options).postgres
    found = asyncio.run(_find(settings.dsn, settings.slot))
    confirmed = format_lsn(found.confirmed_lsn) if found.confirmed_lsn else None
    restart = None if found.restart_lsn is None else format_lsn(found.restart_lsn)
    if is_json:
        document = {
            "slot": found.name,
            "plugin": found.plugin,
            "database": found.database,
            "active": found.active_pid is not None,
            "active_pid": found.active_pid,
            "wal_status": found.wal_status,
            "is_being_created": found.is_being_created,
            "confirmed_lsn": confirmed,
            "restart_lsn": restart,
            "lag_bytes": found.lag_bytes,
            "retained_bytes": found.retained_bytes,
        }
        click.echo(json.dumps(document))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("slot", found.name),
        ("plugin", found.plugin),
        ("database", found.database),
        ("active", _activity(found)),
        ("confirmed LSN", confirmed),
        ("restart LSN", restart),
        ("lag", _size(found.lag_bytes)),
        ("retained WAL", _size(found.retained_bytes)),
        ("WAL status", found.wal_status),
    ):
        table.add_row(name, Text(printable(value or "-")))
    show(table)


def _activity(found: Slot) -> str:
    if found.active_pid is None:
        return "no"
    if found.is_being_created:
        return f"being created (pid {found.active_pid}): PostgreSQL waits for open transactions"
    return f"yes (pid {found.active_pid})"


def _size(size_bytes: int | None) -> str | None:
    return None if size_bytes is None else size(size_bytes)


@slot.command(epilog=examples("ditto slot drop --config ditto.yaml", "ditto slot drop --slot old_slot --yes"))
@configuration("postgres.dsn", "postgres.slot")
@click.option(
    "--yes",
    "is_sure",
    is_flag=True,
    envvar="DITTO_SLOT_DROP_YES",
    show_envvar=True,
    help="Do not ask.  [default: ask]",
)
def drop(is_sure: bool, **options: Any) -> None:
    """Remove the slot, and let PostgreSQL remove the WAL that it holds back.

    Changes that are not in the stream yet are then lost to it, and so are all changes until a new slot is created.
    """
    settings = effective(**options).postgres
    if not is_sure and not sys.stdin.isatty():
        raise ConfigError("nobody can be asked whether to drop the slot: there is no terminal", hint="give --yes")
    # The question is asked outside of the event loop, which would delay an interrupt until it is answered.
    found = asyncio.run(_find(settings.dsn, settings.slot))
    if found.active_pid is not None:
        raise _in_use(settings.slot, f"PID {found.active_pid}")
    if not is_sure:
        click.echo(
            f"Dropping the slot {settings.slot} loses the changes after {format_lsn(found.confirmed_lsn)} "
            f"({_size(found.lag_bytes or 0)} of WAL), and all changes until there is a new slot: "
            "the stream will have a gap, and ditto run stops there unless delivery.on_gap is continue. Reload "
            "consumers from the tables after that start, not before."
        )
        if not click.confirm("Drop it?"):
            click.echo("The slot stays.")
            raise click.exceptions.Exit(1)
    try:
        asyncio.run(_drop(settings.dsn, settings.slot))
    except SlotInUse as error:
        raise _in_use(settings.slot, "another connection") from error
    click.echo(f"The slot {settings.slot} is gone.")


def _in_use(name: str, by: str) -> SlotInUse:
    return SlotInUse(
        f"the slot {name} is in use by {by} and cannot be dropped",
        hint="stop the Ditto (or other reader) that uses it, then try again",
        slot=name,
    )
