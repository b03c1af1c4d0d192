"""The formats of a pipeline: which one the events of a table have, and a block in which they meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ditto.config import Events, Types
from ditto.config.format_rules import DEBEZIUM, format_names
from ditto.decoding.messages import Block
from ditto.formats.base import Rows
from ditto.formats.cloudevents import BinaryCloudEvents, StructuredCloudEvents, source_of
from ditto.formats.debezium.format import Debezium
from ditto.formats.ditto import DittoFormat
from ditto.formats.msgpack import MessagePack
from ditto.formats.payloads import Payloads

if TYPE_CHECKING:
    from ditto.formats.base import Format, TableFormat

OWN: Final = frozenset({"ditto", "wal-listener"})
"""The formats that are Ditto's own shape: they differ in their values."""


def types_of(name: str, types: Types) -> Types:
    """How the values of a format's events become JSON, by its name and by `events.types`.

    Debezium's are what they are.
    """
    if name.startswith(DEBEZIUM):
        return Types()
    return msgspec.structs.replace(types, profile="wal-listener") if name == "wal-listener" else types


def needs_transactions(events: Events) -> bool:
    """Whether one of them says to which transactions changes belong."""
    return any(name.startswith(DEBEZIUM) for name in format_names(events))


def readable_types(name: str, types: Types) -> Types:
    """The options by which a format's values are read back (`stored_events`)."""
    types = types_of(name, types)
    return msgspec.structs.replace(types, json="string") if name == "msgpack" else types


class TableFormats:
    """Makes the formats that tables have, one object each."""

    def __init__(self, events: Events, *, system_identifier: str, database: str) -> None:
        source = source_of(system_identifier, database)
        self._make: Mapping[str, Callable[[], TableFormat]] = {
            "cloudevents": lambda: StructuredCloudEvents(source),
            "cloudevents-binary": lambda: BinaryCloudEvents(source),
            "debezium": lambda: Debezium(events.prefix, database=database, has_schema=False),
            "debezium-schema": lambda: Debezium(events.prefix, database=database, has_schema=True),
            "msgpack": MessagePack,
        }
        self._made: dict[str, TableFormat] = {}

    def find(self, name: str) -> TableFormat | None:
        """The format of that name; None for Ditto's own."""
        if name in OWN:
            return None
        if name not in self._made:
            self._made[name] = self._make[name]()
        return self._made[name]


class BlockFormat:
    """A format (see `base.Format`) for blocks whose tables may each have a format of their own.

    What has no layout is left to `own`: changes of tables with Ditto's format, and everything that is Ditto's own
    matter, such as descriptions of tables and control events of snapshots.
    """

    def __init__(self, own: Format | None = None) -> None:
        self._own: Format = DittoFormat() if own is None else own

    def encode(self, block: Block) -> Payloads:
        """See `base.Format`."""
        layouts = block.layouts
        if layouts is None:
            return self._own.encode(block)
        only = _format_of(layouts[0])
        # Mostly all changes are of one table, and counting is a sixth of looking at the format of each.
        is_one = layouts.count(layouts[0]) == len(layouts) or len(set(map(_format_of, layouts))) == 1
        if only is None or not is_one:
            return self._encode_runs(block, layouts)
        payloads, headers = only.encode(_rows(block, 0, len(layouts)))
        if headers is not None:
            _add_headers(block, 0, headers)
        return payloads

    def _encode_runs(self, block: Block, layouts: list[Any]) -> Payloads:
        """Changes that follow each other and have one format, run after run."""
        data, ends, start = bytearray(), list[int](), 0
        while start < len(layouts):
            only, stop = _format_of(layouts[start]), start + 1
            while stop < len(layouts) and _format_of(layouts[stop]) is only:
                stop += 1
            if only is None:
                part = _part(block, start, stop)
                payloads = self._own.encode(part)
                if part.headers is not None:
                    block.headers = block.headers or [b""] * len(layouts)
                    block.headers[start:stop] = part.headers
            else:
                payloads, headers = only.encode(_rows(block, start, stop))
                if headers is not None:
                    _add_headers(block, start, headers)
            for payload in payloads.each():
                data += payload
                ends.append(len(data))
                data += b"\n"
            start = stop
        return Payloads(data, ends, 1)


def _format_of(layout: Any) -> TableFormat | None:
    return None if layout is None else layout.format


def _rows(block: Block, start: int, stop: int) -> Rows:
    layouts = block.layouts or []
    if stop - start == len(block.changes):
        return Rows(block.changes, layouts, block.commit_lsns, block.ordinals, block.transactions)
    part = _part(block, start, stop)
    return Rows(part.changes, layouts[start:stop], part.commit_lsns, part.ordinals, part.transactions)


def _part(block: Block, start: int, stop: int) -> Block:
    """The same changes, for a format that takes blocks; its `headers` are all that they have."""
    return Block(
        block.changes[start:stop],
        block.routes[start:stop],
        block.commit_lsns[start:stop],
        block.ordinals[start:stop],
        headers=None if block.headers is None else block.headers[start:stop],
        transactions=block.transactions,
    )


def _add_headers(block: Block, start: int, lines: list[bytes]) -> None:
    """Behind those that rules have given."""
    if block.headers is None:
        if len(lines) == len(block.changes):
            block.headers = lines
            return
        block.headers = [b""] * len(block.changes)
    for index, more in enumerate(lines, start):
        block.headers[index] += more
