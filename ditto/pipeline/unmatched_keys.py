"""Keys of the configuration that no table matches: misspelt names mostly, and tables that are to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from ditto.pipeline.connecting import Ends
from ditto.routing.patterns import nearest_table, unmatched_keys
from ditto.source.published_tables import Table, look_at_tables

log = structlog.get_logger()

_SHOWN: Final = 10


async def warn_of_unmatched(ends: Ends, published: Sequence[Table]) -> None:
    """Say it once in the life of the process: a table may be created at any time."""
    events, told = ends.config.events, ends.counters.unmatched_keys
    if not [key for key in unmatched_keys(events, published) if key not in told]:
        return
    tables = (await look_at_tables(ends.control)).all
    keys = [key for key in unmatched_keys(events, tables) if key not in told]
    if not keys:
        return
    told.update(keys)
    near = [f"{key}: {found}" for key in keys[:_SHOWN] if (found := nearest_table(key, tables)) is not None]
    meant = f" ({', '.join(near)}?)" if near else ""
    log.warning(
        "tables.unmatched",
        keys=keys[:_SHOWN],
        count=len(keys),
        reason="no table matches these keys of the configuration: they select nothing",
        hint=f"correct the names{meant}; or do nothing, where the tables are created later",
    )
