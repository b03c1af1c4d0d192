"""`ditto slot`: look at the replication slot, or remove it, over an ordinary connection."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import psycopg
from psycopg import sql
from rich.table import Table
from rich.text import Text

from ditto.cli.options import configuration, effective, examples
from ditto.cli.show import show
from ditto.errors import ConfigError, SlotInUse, SlotMissing
from ditto.printable import printable
from ditto.quantity import size
from ditto.source.connection import connect_blocking
from ditto.source.failures import Answer, command_error
from ditto.source.sql import NOW_LSN

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS = f"""
SELECT slot_name AS slot, plugin, database, active, active_pid, wal_status,
       slot_type = 'logical' AND confirmed_flush_lsn IS NULL AS is_being_created,
       confirmed_flush_lsn::text AS confirmed_lsn, restart_lsn::text AS restart_lsn,
       pg_catalog.pg_wal_lsn_diff(now_lsn, confirmed_flush_lsn)::bigint AS lag_bytes,
       pg_catalog.pg_wal_lsn_diff(now_lsn, restart_lsn)::bigint AS retained_bytes
  FROM pg_catalog.pg_replication_slots, (SELECT {NOW_LSN}) AS t (now_lsn)
 WHERE slot_name = %s
"""  # noqa: S608  a constant


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """An ordinary connection whose errors are Ditto's own."""
    with connect_blocking(dsn) as connection:
        yield connection


def _find(connection: psycopg.Connection[dict[str, Any]], slot: str) -> dict[str, Any]:
    try:
        row = connection.execute(_STATUS, [slot]).fetchone()
    except psycopg.Error as error:
        raise _command_error(error, f"read the state of the slot {slot}", slot) from error
    if row is None:
        raise SlotMissing(
            f"there is no replication slot {slot}",
            hint="ditto run creates it unless postgres.create is false; ditto config show tells which slot is meant",
            slot=slot,
        )
    return row


def _command_error(error: psycopg.Error, doing: str, slot: str) -> Exception:
    return command_error(Answer.of(error), doing=doing, slot=slot)


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
    with _connected(settings.dsn) as connection:
        row = _find(connection, settings.slot)
    if is_json:
        click.echo(json.dumps(row))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("slot", row["slot"]),
        ("plugin", row["plugin"]),
        ("database", row["database"]),
        ("active", _activity(row)),
        ("confirmed LSN", row["confirmed_lsn"]),
        ("restart LSN", row["restart_lsn"]),
        ("lag", _size(row["lag_bytes"])),
        ("retained WAL", _size(row["retained_bytes"])),
        ("WAL status", row["wal_status"]),
    ):
        table.add_row(name, Text(printable(value or "-")))
    show(table)


def _activity(row: dict[str, Any]) -> str:
    if row["active"] and row["is_being_created"]:
        return f"being created (pid {row['active_pid']}): PostgreSQL waits for open transactions"
    return f"yes (pid {row['active_pid']})" if row["active"] else "no"


def _size(size_bytes: int | None) -> str | None:
    return None if size_bytes is None else size(max(0, size_bytes))


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
    with _connected(settings.dsn) as connection:
        row = _find(connection, settings.slot)
        if row["active"]:
            raise _in_use(settings.slot, f"PID {row['active_pid']}")
        if not is_sure:
            click.echo(
                f"Dropping the slot {settings.slot} loses the changes after {row['confirmed_lsn']} "
                f"({_size(row['lag_bytes'])} of WAL), and all changes until there is a new slot: "
                "the stream will have a gap, and ditto run stops there unless delivery.on_gap is continue. Reload "
                "consumers from the tables after that start, not before."
            )
            if not click.confirm("Drop it?"):
                click.echo("The slot stays.")
                raise click.exceptions.Exit(1)
        try:
            connection.execute(sql.SQL("SELECT pg_catalog.pg_drop_replication_slot({})").format(settings.slot))
        except psycopg.errors.ObjectInUse as error:
            raise _in_use(settings.slot, "another connection") from error
        except psycopg.Error as error:
            raise _command_error(error, f"drop the slot {settings.slot}", settings.slot) from error
    click.echo(f"The slot {settings.slot} is gone.")


def _in_use(name: str, by: str) -> SlotInUse:
    return SlotInUse(
        f"the slot {name} is in use by {by} and cannot be dropped",
        hint="stop the Ditto (or other reader) that uses it, then try again",
        slot=name,
    )
