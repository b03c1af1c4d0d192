"""The format: rows with Debezium's envelope around them.

https://debezium.io/documentation/reference/3.4/connectors/postgresql.html#postgresql-events
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ditto import __version__
from ditto.decoding.change import Change
from ditto.decoding.column_kinds import SKIP
from ditto.decoding.messages import Relation
from ditto.formats.base import NONE, KeyedLayout, Layout, Rows
from ditto.formats.debezium.columns import column_form
from ditto.formats.debezium.envelopes import Frame, encode_events
from ditto.formats.debezium.schemas import envelope_schema
from ditto.formats.own_lines import own_lines_of
from ditto.formats.payloads import Payloads

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OPERATIONS: Final = {"INSERT": "c", "UPDATE": "u", "DELETE": "d", "TRUNCATE": "t", "READ": "r"}
_WITHOUT_AFTER: Final = frozenset({"DELETE", "TRUNCATE"})


class DebeziumLayout(KeyedLayout, frozen=True, eq=False):
    """What is worked out for a relation."""

    blank: dict[str, Any]
    """Every column of events, null."""
    unavailable: dict[str, Any]
    """What stands for the values that were not sent."""
    start: bytes
    """Before the old row."""
    end: bytes
    """Behind the whole envelope."""
    name: bytes
    """`"schema":…,"table":…` of the source."""

    def whole(self, old: dict[str, Any]) -> dict[str, Any]:
        """An old row that has only the columns of the key: the others are null, as Debezium has it."""
        return {**self.blank, **old}

    def filled(self, change: Change) -> dict[str, Any]:
        """A new row without some large values."""
        return {**self.unavailable, **change.data}


class Debezium:
    """A format (see `base.TableFormat`)."""

    needs_types = True

    def __init__(self, prefix: str, *, database: str, has_schema: bool) -> None:
        self._prefix = prefix
        self._has_schema = has_schema
        encode = msgspec.json.encode
        self._source_start = b'{"version":%b,"connector":"postgresql","name":%b,' % (
            encode(__version__),
            encode(prefix),
        )
        self._database = b',"db":%b,' % encode(database)

    def layout(
        self,
        relation: Relation,
        usual: bytes,
        *,
        skipped: Set[int] = NONE,
        masked: Set[int] = NONE,
        labels: Mapping[int, Sequence[str]] = {},
    ) -> Layout:
        """See `base.TableFormat`."""
        kinds, functions = bytearray(), list[Callable[[str | None], Any] | None]()
        schemas, unavailable = dict[str, Any](), dict[str, Any]()
        is_key_known = relation.replica_identity in "di"
        for index, column in enumerate(relation.columns):
            if index in skipped:
                kinds.append(SKIP)
                functions.append(None)
                continue
            form = column_form(column, usual[index], is_masked=index in masked, labels=labels)
            kinds.append(form.kind)
            functions.append(form.function)
            schema = form.schema
            is_optional = not (is_key_known and column.is_key)
            schemas[column.name] = {"type": schema["type"], "optional": is_optional, **schema}
            unavailable[column.name] = form.unavailable
        start = b'{"before":'
        if self._has_schema:
            name = f"{self._prefix}.{relation.namespace}.{relation.name}"
            start = b'{"schema":%b,"payload":{"before":' % msgspec.json.encode(envelope_schema(name, schemas))
        return DebeziumLayout(
            self,
            bytes(kinds),
            tuple(functions),
            tuple(map(sys.intern, schemas)),
            tuple(b",%b:" % msgspec.json.encode(name) for name in schemas),
            dict.fromkeys(schemas),
            unavailable,
            start,
            b"}}" if self._has_schema else b"}",
            b'"schema":%b,"table":%b,' % (msgspec.json.encode(relation.namespace), msgspec.json.encode(relation.name)),
        )

    def encode(self, rows: Rows) -> tuple[Payloads, list[bytes] | None]:
        """See `base.TableFormat`."""
        now_ns = time.time_ns()
        processed = b'"ts_ms":%d,"ts_us":%d,"ts_ns":%d' % (now_ns // 1_000_000, now_ns // 1000, now_ns)

        def make_frame(layout: DebeziumLayout, commit_lsn: int, change: Change) -> Frame:
            return self._frame(rows, layout, commit_lsn, change, processed)

        data, ends = encode_events(rows.changes, rows.layouts, rows.commit_lsns, rows.ordinals, make_frame)
        return Payloads(data, ends, 1), own_lines_of(rows.changes)

    def _frame(self, rows: Rows, layout: DebeziumLayout, commit_lsn: int, change: Change, processed: bytes) -> Frame:
        transaction = rows.transactions.get(commit_lsn)
        us = commit_time_us(change) if transaction is None else transaction.commit_time_us
        xid = b"null" if transaction is None else b"%d" % transaction.xid
        snapshot = b"incremental" if change.action == "READ" else b"false"
        source = b',"source":%b"ts_ms":%d,"snapshot":"%b"%b"sequence":"[\\"%d\\",\\"' % (
            self._source_start,
            us // 1000,
            snapshot,
            self._database,
            commit_lsn,
        )
        rest = b'\\"]","ts_us":%d,"ts_ns":%d,%b"txId":%b,"lsn":%d,"xmin":null},"transaction":null,"op":"%b",%b%b' % (
            us,
            us * 1000,
            layout.name,
            xid,
            commit_lsn,
            _OPERATIONS[change.action].encode(),
            processed,
            layout.end,
        )
        return Frame(layout.start, b',"after":', source, rest, change.action not in _WITHOUT_AFTER)


def commit_time_us(change: Change) -> int:
    """Microseconds since 1970."""
    return (datetime.fromisoformat(change.commit_time) - _EPOCH) // timedelta(microseconds=1)
