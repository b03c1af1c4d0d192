"""Random rules, formats, groups and events that are too large: prints what would be stored, seed by seed.

    DITTO_IMPL=c python -m fuzz.rules FIRST COUNT

Both implementations print the same (`unit/test_rules_agree.py`), and no value of a column that is left out or masked.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from unit import wire
from unit.test_snapshot_rows import copy_line

from ditto.config import Events, load
from ditto.decoding.change import Change, StoredObject
from ditto.decoding.choose import Decoder
from ditto.decoding.event_id import event_key
from ditto.decoding.messages import Block, ChangeRefused
from ditto.decoding.snapshot_rows import Rows
from ditto.errors import DittoError
from ditto.formats.choose import TableFormats
from ditto.formats.payloads import Payloads
from ditto.monitoring.counters import Counters
from ditto.pipeline.groups import Groups, layout_of
from ditto.pipeline.oversize import Oversize
from ditto.pipeline.planning import make_extras, make_format
from ditto.routing.message_rule import make_message_rule
from ditto.routing.planner import Planner
from ditto.routing.table_formats import TablesFormats
from ditto.source.type_facts import TypeFacts
from fuzz.random_rules import LSN, Table, frames, make_events, make_table, row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ditto.routing.table_plans import TablePlan

_CLOCK: Final = re.compile(rb'"ts_ms":[0-9]+,"ts_us":[0-9]+,"ts_ns":[0-9]+(?=,"transaction"|})')
"""When Debezium's event was made; in `source` is the time of the commit."""


class _Store:
    """Of objects."""

    async def put(self, name: str, data: memoryview) -> StoredObject:
        print("  object", name, bytes(data))
        return StoredObject(bucket="b", name=name, size=len(data), digest="SHA-256=x")


class _Output:
    """What comes between decoder and sink."""

    def __init__(self, events: Events, planner: Planner, *, max_bytes: int) -> None:
        self._format = make_format(events)
        self._oversize = self._groups = None
        if events.oversize != "stop":
            store = _Store() if events.oversize == "object_store" else None
            self._oversize = Oversize(
                self._format, max_bytes=max_bytes, keys=planner.primary_keys, store=store, counters=Counters()
            )
        if events.group is not None:
            self._groups = Groups(events.group, layout=layout_of(events), route=b"p.transactions", max_bytes=100_000)

    async def show(self, block: Block, *, is_made: bool = False) -> None:
        """Print the messages."""
        payloads = self._format.encode(block) if block.changes else Payloads(b"", [], 0)
        if self._oversize is not None:
            block, payloads = await self._oversize.fit(block, payloads)
        if self._groups is not None:
            block, payloads, _, _ = self._groups.pack(block, payloads, None, is_made=is_made)
        for index, payload in enumerate(payloads.each()):
            headers = block.headers[index] if block.headers else b""
            key = block.keys[index] if block.keys else None
            place = block.commit_lsns[index], block.ordinals[index]
            print(" ", place, block.routes[index], key, headers, _CLOCK.sub(b"", bytes(payload)))


async def run(seed: int) -> None:
    """Print what becomes of the seed."""
    chance = random.Random(seed)
    tables = [make_table(chance, oid) for oid in range(1, chance.randint(2, 4))]
    environment, tables = make_events(chance, tables)
    print("seed", seed, json.dumps(environment))
    try:
        events = load(None, {}, environment).events
    except DittoError as error:
        print("  config:", error.message)
        return
    planner = make_planner(events, tables, has_keys=chance.random() < 0.5)
    decoder = Decoder(
        id_key=event_key("7", "s"), extras=make_extras(events), message_rule=make_message_rule(events, database="d")
    )
    output = _Output(events, planner, max_bytes=chance.choice([1400, 1800, 4000]))
    plans: dict[int, TablePlan] = {}
    try:
        for frame in frames(chance, tables):
            decoder.feed(frame)
            relation = decoder.relation
            if relation is not None:
                plans[relation.oid] = await planner.plan(relation)
                decoder.define(relation.oid, plans[relation.oid])
            if relation is not None or chance.random() < 0.3:
                await output.show(decoder.take())
        await output.show(decoder.take())
        for table in tables:
            await read(chance, table, plans[table.oid], decoder, output)
    except ChangeRefused as error:
        await output.show(decoder.take())
        print("  refused:", repr(error), error.relation, error.action, error.commit_lsn, error.ordinal)
    except DittoError as error:
        print("  error:", type(error).__name__, error.message, error.context)
    print("  counts:", decoder.filtered_count, decoder.passed_counts(), decoder.dropped_counts())


def make_planner(events: Events, tables: list[Table], *, has_keys: bool) -> Planner:
    """One that asks no server."""

    async def key_of(oid: int) -> Collection[str]:
        return [next(table.columns[0].name for table in tables if table.oid == oid)]

    async def not_arrays() -> frozenset[tuple[str, str]]:
        return frozenset()

    async def facts(oids: Collection[int]) -> Mapping[int, TypeFacts]:
        return {oid: TypeFacts(labels=("happy", "sad")) for oid in oids}

    formats = TableFormats(events, system_identifier="7", database="d")
    return Planner(
        events,
        database="d",
        primary_key=key_of,
        not_arrays=not_arrays,
        formats=TablesFormats(events, formats, find_types=facts),
        has_keys=has_keys,
    )


async def read(chance: random.Random, table: Table, plan: TablePlan, decoder: Decoder, output: _Output) -> None:
    """Rows of a snapshot; the same rows as inserts have the same contents."""
    if plan.routes.read is None:
        return
    rows, given = Rows(len(table.columns)), [row(chance, table) for _ in range(chance.randint(1, 4))]
    for each in given:
        rows.add(copy_line(each))
    key = tuple(at for at, column in enumerate(table.columns) if column.is_key and table.identity != "f")
    block = decoder.read_block_of(
        plan, rows, 0, rows.count, key=key, run="r", commit_lsn=LSN + 50_000 + table.oid,
        commit_time="2026-01-01T00:00:00Z", xid=7, first_ordinal=1, moved_cursor=None,
    )  # fmt: skip
    found = contents(block)
    await output.show(block, is_made=True)
    if plan.routes.insert is not None:
        lsn = LSN + 100_000 + table.oid
        for frame in (wire.begin(lsn), *(wire.insert(table.oid, each) for each in given), wire.commit(lsn)):
            decoder.feed(frame)
        assert contents(decoder.take()) == found


def contents(block: Block) -> list[tuple[bytes, bytes | None]]:
    """Rows and keys."""
    keys = block.keys or [None] * len(block.changes)
    made = zip(block.changes, keys, strict=True)
    return [(msgspec.json.encode(each.data), key) for each, key in made if isinstance(each, Change)]


def main(first: int, count: int) -> None:
    """So many seeds from this one on."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    for seed in range(first, first + count):
        asyncio.run(run(seed))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
