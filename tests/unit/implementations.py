"""The two implementations of the core, taken directly: whatever DITTO_IMPL says, the tests see both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ditto import _pgoutput
from ditto.decoding import _column_values, _snapshot_rows
from ditto.decoding.column_kinds import KINDS, Kinds
from ditto.decoding.event_id import event_key
from ditto.decoding.messages import Block
from ditto.decoding.pure import column_values, decoder, snapshot_rows
from ditto.formats import _lines, _packing, pure_packing
from ditto.formats.ditto import DittoFormat
from ditto.formats.line_ends import pure_line_ends
from ditto.lsn import ORIGIN, Position
from ditto.routing.table_columns import EVERYTHING
from ditto.routing.table_descriptions import Description, describe
from ditto.routing.table_plans import Routes, TablePlan
from ditto.sinks.jetstream import _frames, pure_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from psycopg.pq.abc import PGconn

    from ditto.decoding.change import Change
    from ditto.decoding.messages import Moved, Relation
    from ditto.decoding.transaction_snapshot import TxSnapshot
    from ditto.lsn import Transaction

ID_KEY = event_key("7312345678901234567", "ditto")


class Decoder(Protocol):
    """What both decoders offer to a test."""

    @property
    def skipped_count(self) -> int: ...
    @property
    def filtered_count(self) -> int: ...
    @property
    def logical_message_count(self) -> int: ...
    @property
    def void_request_count(self) -> int: ...
    @property
    def watched(self) -> list[Transaction]: ...
    def last_transaction(self) -> Transaction | None: ...
    def passed_counts(self) -> dict[tuple[str, str], tuple[int, ...]]: ...
    def dropped_counts(self) -> dict[tuple[str, str], int]: ...
    @property
    def relation_count(self) -> int: ...
    @property
    def passed_lsn(self) -> int: ...
    @property
    def relation(self) -> Relation | None: ...
    def define(self, oid: int, plan: TablePlan) -> None: ...
    def relations(self) -> dict[int, Relation]: ...
    def forget(self, relations: Mapping[int, Relation]) -> set[tuple[str, str]]: ...
    def feed(self, frame: bytes) -> None: ...
    def take(self) -> Block: ...
    def read(self, pgconn: PGconn, *, max_events: int, max_bytes: int, enough: int = 1) -> Block: ...
    def stop_before(self, lsn: int) -> None: ...
    def mark_selected(self) -> None: ...
    @property
    def recorded(self) -> list[tuple[int, bytes]]: ...
    @property
    def recorded_bytes(self) -> int: ...
    @property
    def moved(self) -> list[Moved]: ...
    def record(self, oid: int | None, key: tuple[int, ...], names: tuple[str, ...] = ()) -> None: ...
    def record_invisible(self, snapshot: TxSnapshot | None) -> None: ...
    def recorded_invisible_in(self, snapshot: TxSnapshot) -> list[bytes]: ...
    def forget_moved(self, moved: Sequence[Moved]) -> None: ...
    def read_block_of(
        self,
        plan: TablePlan,
        rows: Any,
        start: int,
        stop: int,
        *,
        key: tuple[int, ...],
        run: str,
        commit_lsn: int,
        commit_time: str,
        xid: int,
        first_ordinal: int,
        moved_cursor: list[str] | None,
    ) -> Block: ...


class Rows(Protocol):
    """What both implementations of a snapshot's rows offer to a test."""

    moved_count: int

    @property
    def count(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def is_drained(self) -> bool: ...
    def read(self, pgconn: PGconn, *, max_bytes: int) -> bool: ...
    def add(self, line: bytes) -> None: ...
    def row(self, index: int) -> bytes: ...
    def key(self, index: int, columns: Sequence[int]) -> list[str]: ...
    def overlay(self, messages: Sequence[bytes], columns: Sequence[int]) -> None: ...
    def piece(self, start: int, *, max_rows: int, max_bytes: int) -> int: ...


class Implementation(NamedTuple):
    """One of the two."""

    name: str
    make_decoder: Callable[..., Decoder]
    convert: Callable[[bytes, int], Any]
    frame_block: Callable[..., bytes | bytearray]
    line_ends: Callable[[bytes], list[int]]
    make_rows: Callable[[int], Rows]
    split: Callable[..., list[int]]
    join: Callable[..., None]

    def decoder(
        self,
        plan: Callable[[Relation], TablePlan] | None = None,
        *,
        after: Position = ORIGIN,
        id_key: bytes = ID_KEY,
        **options: object,
    ) -> Decoder:
        """A decoder that defines each relation at once: by default everything passes, on the route `action table`."""
        made: Decoder = Defining(self.bare_decoder(after=after, id_key=id_key, **options), plan or pass_all)
        return made

    def bare_decoder(self, *, after: Position = ORIGIN, id_key: bytes = ID_KEY, **options: object) -> Decoder:
        """A decoder that waits until its relations are defined."""
        return self.make_decoder(id_key=id_key, after=after, **options)

    def decode(self, frames: Iterable[bytes], *, after: Position = ORIGIN) -> Block:
        """Everything in one block."""
        decoder = self.decoder(after=after)
        for frame in frames:
            decoder.feed(frame)
        return decoder.take()


class Defining:
    """A decoder whose relations are planned as soon as they are described."""

    def __init__(self, decoder: Decoder, plan: Callable[[Relation], TablePlan]) -> None:
        self._decoder = decoder
        self._plan = plan
        self._defined: Relation | None = None

    def feed(self, frame: bytes) -> None:
        self._decoder.feed(frame)
        relation = self._decoder.relation
        if relation is not None and relation is not self._defined:
            self._decoder.define(relation.oid, self._plan(relation))
            self._defined = relation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)


def plan_of(relation: Relation, *routes: bytes | None, kinds: Kinds = KINDS, **options: Any) -> TablePlan:
    """A plan with these routes."""
    found = bytes(kinds.find(each.type_oid, each.type_namespace, each.type_name) for each in relation.columns)
    return TablePlan(relation=relation, routes=Routes(*routes), kinds=found, **options)


def pass_all(relation: Relation, **options: Any) -> TablePlan:
    """Every change passes, on the route `action table`."""
    name = f"{relation.namespace}.{relation.name}".encode()
    routes = (b"insert " + name, b"update " + name, b"delete " + name, b"truncate " + name)
    return plan_of(relation, *routes, **options)


def pass_none(relation: Relation) -> TablePlan:
    """No change passes."""
    return plan_of(relation, None, None, None, None)


def description_of(relation: Relation, version: str = "v1", route: bytes | None = None) -> Description:
    """Its description on the route `described table`."""
    route = route or f"described {relation.name}".encode()
    return describe(relation, KINDS, EVERYTHING, route=route, version=version, primary_key=["id"])


def encode(changes: list[Change]) -> list[bytes]:
    """Each change as it is encoded."""
    return [bytes(payload) for payload in DittoFormat().encode(Block(changes, [], [], [])).each()]


def positions(block: Block) -> list[Position]:
    return [Position(*pair) for pair in zip(block.commit_lsns, block.ordinals, strict=True)]


def comparable(block: Block) -> tuple[object, ...]:
    """All that a block says. Changes as they encode: raw JSON has no equality of its own."""
    return (
        encode(block.changes),
        block.routes,
        block.commit_lsns,
        block.ordinals,
        block.size,
        block.frame_count,
        block.delivered,
        block.idle_lsn,
        block.is_reply_requested,
        block.wanted_lsn,
        block.is_drained,
        block.is_ended,
        block.traceparents,
        block.relation,
        block.message,
        block.is_at_barrier,
        block.headers,
        block.keys,
        block.transactions,
    )


IMPLEMENTATIONS = (
    Implementation(
        "c",
        _pgoutput.Decoder,
        _column_values.convert,
        _frames.frame_block,
        _lines.line_ends,
        _snapshot_rows.Rows,
        _packing.split,
        _packing.join,
    ),
    Implementation(
        "python",
        decoder.Decoder,
        column_values.convert,
        pure_frames.frame_block,
        pure_line_ends,
        snapshot_rows.Rows,
        pure_packing.split,
        pure_packing.join,
    ),
)
