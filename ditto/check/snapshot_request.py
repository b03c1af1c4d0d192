"""Whether a request for a snapshot can do what it asks for, before it is sent: the runner can only refuse it later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ditto.check.finding import Finding
from ditto.check.snapshot import rights
from ditto.config import PipelineConfig
from ditto.errors import ConfigError, PublicationMissing, SlotMissing
from ditto.routing.router import Router
from ditto.routing.snapshot_selection import Selection
from ditto.routing.table_columns import hidden_columns
from ditto.source.published_tables import Table, look_at_publication, look_at_tables
from ditto.source.slot import find_slot
from ditto.source.snapshot_look import look
from ditto.source.snapshot_requests import check_primary
from ditto.source.snapshot_table import describe_table
from ditto.source.sql import Control

_PATIENCE_S: Final = 5.0
"""How long a lock on the table may take."""


class Readable(Struct, frozen=True, kw_only=True):
    """A request that can be sent."""

    names: list[str]
    """For the request; empty for all tables."""
    tables: list[Table]
    """That are read, as far as is known now."""
    unreadable: list[Finding]
    """What the role that asks may not read of them."""
    is_slot_held: bool
    """A Ditto reads the slot, and so the request."""


async def check_request(
    control: Control, config: PipelineConfig, names: Sequence[str], *, where: str | None
) -> Readable:
    """Look at each table that is named.

    Raises ServerUnsuitable, ConfigError, TableNotPublished, PublicationMissing, SlotMissing, and SnapshotRefused for a
    condition that does not pass.
    """
    if where is not None and len(names) != 1:
        raise ConfigError("a condition goes with exactly one table", hint="name the table, and start a run for each")
    await check_primary(control)
    publication = await look_at_publication(control, config.postgres.publication)
    if not publication.exists:
        raise PublicationMissing(
            f"publication {publication.name} does not exist: nothing is published that a snapshot could read",
            hint="has ditto run been started yet? It creates the publication",
        )
    slot = await find_slot(control, config.postgres.slot)
    if slot is None:
        raise SlotMissing(
            f"there is no replication slot {config.postgres.slot}: nobody would read the request",
            hint="start ditto run first, which creates it",
            slot=config.postgres.slot,
        )
    selection = Selection(config.events, publication, await look_at_tables(control))
    asked = selection.names(names)
    tables = selection.read_by(asked)
    if where is not None and len(tables) != 1:
        raise ConfigError(
            f"a condition goes with exactly one table, and {names[0]} stands for {len(tables):,}",
            hint="give schema.table, without a glob",
        )
    if not tables:
        raise ConfigError(
            "no table can be read: of those that are published, events.tables selects insert or update of none",
            hint="ditto check compares the publication with events.tables",
        )
    unreadable = await _unreadable(control, tables)
    if where is not None:
        from ditto.source.snapshot_where import check_where, explain_where  # noqa: PLC0415 -- brings sqlglot

        schema, name = tables[0]
        table = await describe_table(control, publication.name, schema, name, patience_s=_PATIENCE_S)
        _, rules = Router(config.events, database="").rules(schema, name) or ("", None)
        hidden = hidden_columns(rules, table.relation)
        await explain_where(control, table, check_where(where, table, hidden=hidden))
    return Readable(
        names=asked,
        tables=tables,
        unreadable=unreadable,
        is_slot_held=slot.active_pid is not None and not slot.is_being_created,
    )


async def _unreadable(control: Control, tables: Sequence[Table]) -> list[Finding]:
    """No reason to refuse: the Ditto that reads may have another role than the one that asks."""
    looked = await look(control, tables)
    (row,) = await control.fetch("SELECT current_user::text AS role", doing="ask for the role")
    return [each for each in rights(looked, row["role"]) if each.level != "ok"]
