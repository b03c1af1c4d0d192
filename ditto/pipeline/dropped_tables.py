"""Gives up what is kept of tables that have been dropped: a database may make and drop thousands a day.

PostgreSQL describes a table once a connection, so what is known of one that exists must be kept. It does not say when a
table is gone; the catalogue does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from ditto.decoding.choose import Decoder
from ditto.decoding.messages import Relation
from ditto.monitoring.counters import Counters
from ditto.routing.planner import Planner
from ditto.source.sql import Control

log = structlog.get_logger()

MANY: Final = 5000
"""So many descriptions are kept without asking: 20 MB, where tables have ten columns."""
PERIOD_S: Final = 30.0

_DROPPED: Final = (
    "SELECT d.oid::pg_catalog.int8 AS oid FROM pg_catalog.unnest(%s::pg_catalog.oid[]) AS d (oid) "
    "WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = d.oid)"
)


class DroppedTables:
    """Runs beside the stream of one session."""

    def __init__(
        self,
        control: Control,
        decoder: Decoder,
        *,
        planner: Planner,
        counters: Counters,
    ) -> None:
        self._control = control
        self._decoder = decoder
        self._planner = planner
        self._counters = counters

    async def run(self) -> None:
        """Look from time to time, more rarely the more tables there are; for ever."""
        bound = MANY
        while True:
            await asyncio.sleep(PERIOD_S)
            if self._decoder.relation_count > bound:
                await self._look()
                bound = max(MANY, 2 * self._decoder.relation_count)

    async def _look(self) -> None:
        relations = self._decoder.relations()
        rows = await self._control.fetch(_DROPPED, [list(relations)], doing="look for dropped tables")
        # A table is locked while it is dropped: its last change was committed before that. What the decoder has still
        # to read up to here may be about it.
        lsn = await self._control.wal_lsn()
        while self._decoder.passed_lsn < lsn:  # noqa: ASYNC110  nothing tells when it is there, and nothing waits for it
            await asyncio.sleep(PERIOD_S / 10)
        self._forget({oid: relations[oid] for row in rows if (oid := row["oid"]) in relations})

    def _forget(self, relations: Mapping[int, Relation]) -> None:
        if not relations:
            return
        self._counters.refresh()  # with the counts of those that are given up
        tables = self._decoder.forget(relations)
        self._counters.refresh()
        self._planner.forget(tables)
        log.info("tables.forgotten", count=len(relations), left=self._decoder.relation_count)
