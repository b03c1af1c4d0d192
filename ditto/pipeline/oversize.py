"""Events that the sink does not take because of their size (`events.oversize`): columns are left out of them, or they
go into an object store whole, and a reference takes their place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec
import structlog

from ditto.decoding.change import Change, ReducedChange, ReducedRow
from ditto.decoding.messages import Block
from ditto.formats.base import Format
from ditto.formats.msgpack import MessagePack
from ditto.formats.payloads import Payloads
from ditto.monitoring.counters import Counters
from ditto.pipeline.beginning import Ready
from ditto.sinks.base import ObjectStore

log = structlog.get_logger()

_HEADER_ROOM: Final = 1024
"""Bytes of a message's headers, besides the event's own, its key and the mark of a snapshot's row."""
_MOST_ROOM: Final = 128 << 10
"""Bytes of all of them: nats-server takes 64 KB of headers."""


class Oversize:
    """Of one session. `max_bytes` is what the sink takes, headers included; `keys` are the tables' primary keys, which
    always stay; `store` is where whole events go, or None where columns are left out. The body of a message of the
    application's stays as it is: the sink refuses one that is too large.
    """

    def __init__(
        self,
        encoder: Format,
        *,
        max_bytes: int,
        keys: Mapping[tuple[str, str], Collection[str]],
        store: ObjectStore | None,
        counters: Counters,
        outbox: tuple[str, str] | None = None,
    ) -> None:
        self._format = encoder
        self._max_bytes = max_bytes
        self._keys = keys
        self._store = store
        self._counters = counters
        self._outbox = outbox
        self._told: set[tuple[str, str]] = set()

    async def fit(self, block: Block, payloads: Payloads) -> tuple[Block, Payloads]:
        """The same block, with other events in place of those that are too large; their order stays."""
        if not self._max_bytes or len(payloads.data) + _MOST_ROOM <= self._max_bytes:
            return block, payloads
        changes, data, ends, has_changed = list(block.changes), bytearray(), [], False
        for index, payload in enumerate(payloads.each()):
            change = block.changes[index]
            limit = self._limit(block, index)
            if len(payload) > limit and isinstance(change, Change) and (change.schema, change.table) != self._outbox:
                changes[index], smaller = await self._reduced(block, index, payload, limit)
                data += smaller
                has_changed = True
            else:
                data += payload
            ends.append(len(data))
        if not has_changed:
            return block, payloads
        return msgspec.structs.replace(block, changes=changes), Payloads(data, ends, 0)

    def _limit(self, block: Block, index: int) -> int:
        """How large the event's payload may be."""
        change: Any = block.changes[index]
        headers = block.headers[index] if block.headers else b""
        key = (block.keys[index] if block.keys else None) or b""
        mark = getattr(change, "snapshot", None)
        mark_size = 2 * len(msgspec.json.encode(mark)) if isinstance(change, Change) and mark else 0
        return self._max_bytes - _HEADER_ROOM - len(headers) - 3 * len(key) - mark_size  # a byte of a key may be %XX

    async def _reduced(
        self, block: Block, index: int, payload: memoryview, limit: int
    ) -> tuple[Change, bytes | memoryview]:
        """What takes the event's place. Itself where even that would be too large: the sink refuses it."""
        change: Change = block.changes[index]
        table = change.schema, change.table
        key = frozenset(self._keys.get(table, ()))
        sizes = column_sizes(change, key, _encoder(block, index))
        if self._store is None:
            found = self._stripped(block, index, sizes, len(payload) - limit, limit)
        else:
            stored = await self._store.put(change.id, payload)
            found = self._encoded(block, index, reduced(change, without=frozenset(sizes), object=stored))
        if len(found[1]) > limit:
            return change, payload
        self._counters.oversize += 1
        if table not in self._told:
            self._told.add(table)
            log.warning(
                "event.oversize",
                relation=".".join(table),
                size=len(payload),
                limit=limit,
                reason="the event does not fit into a message: "
                + ("columns are left out of it" if self._store is None else "a reference to the whole event is stored"),
            )
        return found

    def _stripped(
        self, block: Block, index: int, sizes: Mapping[str, int], excess: int, limit: int
    ) -> tuple[Change, bytes]:
        """Without the largest columns: as few as there have to be."""
        change: Change = block.changes[index]
        without: list[str] = []
        found = change, b"\0" * (limit + 1)
        for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
            without.append(name)
            excess -= sizes[name]
            if excess <= 0:
                found = self._encoded(block, index, reduced(change, without=frozenset(without), stripped=without))
                if len(found[1]) <= limit:
                    break
        return found

    def _encoded(self, block: Block, index: int, change: Change) -> tuple[Change, bytes]:
        """The change with its payload. Its headers stay those of the whole event: none depends on its size."""
        alone = msgspec.structs.replace(
            block,
            changes=[change],
            routes=[block.routes[index]],
            commit_lsns=[block.commit_lsns[index]],
            ordinals=[block.ordinals[index]],
            headers=None,
            keys=None,
            layouts=None if block.layouts is None else [block.layouts[index]],
        )
        return change, b"".join(bytes(each) for each in self._format.encode(alone).each())


def _encoder(block: Block, index: int) -> Callable[[Any], bytes]:
    """What makes of a value about what the event has."""
    layout = None if block.layouts is None else block.layouts[index]
    is_msgpack = layout is not None and isinstance(layout.format, MessagePack)
    return msgspec.msgpack.encode if is_msgpack else msgspec.json.encode


def column_sizes(change: Change, key: Collection[str], encode: Callable[[Any], bytes]) -> dict[str, int]:
    """About how many bytes each column takes, old and new value together; columns of the key are left out."""
    sizes: dict[str, int] = {}
    for row in (change.data, change.data_old):
        for name, value in row.items():
            if name not in key:
                sizes[name] = sizes.get(name, 0) + len(name) + 4 + len(encode(value))
    return sizes


def reduced(change: Change, *, without: Collection[str], **more: Any) -> ReducedChange:
    """The same change without these columns. `more` are fields of a ReducedChange."""
    given = msgspec.structs.asdict(change)
    for row in ("data", "data_old"):
        given[row] = {name: value for name, value in given[row].items() if name not in without}
    for names in ("json_null", "json_null_old"):
        kept = [name for name in given.get(names) or () if name not in without]
        given[names] = kept or msgspec.UNSET
    kind = ReducedRow if "snapshot" in given else ReducedChange
    return kind(**given, **more)


def make_oversize(ready: Ready, encoder: Format) -> Oversize | None:
    """That of a session; None where an event that is too large is an error."""
    prepared = ready.prepared
    ends, mode = prepared.ends, prepared.ends.config.events.oversize
    if mode == "stop":
        return None
    return Oversize(
        encoder,
        max_bytes=ends.sink.capabilities.max_bytes,
        keys=prepared.planner.primary_keys,
        store=ends.sink.object_store() if mode == "object_store" else None,
        counters=ends.counters,
        outbox=None if ends.config.events.outbox is None else ends.config.events.outbox.name,
    )
