"""The two implementations of the core, taken directly: whatever DITTO_IMPL says, the tests see both."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ditto import _pgoutput
from ditto.decoding import _values
from ditto.decoding.change import event_key
from ditto.decoding.messages import Targets
from ditto.decoding.pure import decoder, values
from ditto.formats.ditto import encode_events
from ditto.lsn import ORIGIN, Position
from ditto.sinks.jetstream import _frames, pure_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ditto.decoding.change import Event
    from ditto.decoding.messages import Block, Relation
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
    def watched(self) -> list[Transaction]: ...
    def last_transaction(self) -> Transaction | None: ...
    def passed_counts(self) -> dict[tuple[str, str], tuple[int, int, int, int]]: ...
    @property
    def relation_count(self) -> int: ...
    @property
    def passed_lsn(self) -> int: ...
    def relations(self) -> dict[int, Relation]: ...
    def forget(self, relations: Mapping[int, Relation]) -> set[tuple[str, str]]: ...
    def feed(self, frame: bytes) -> None: ...
    def take(self) -> Block: ...


class Implementation(NamedTuple):
    """One of the two."""

    name: str
    make_decoder: Callable[..., Decoder]
    convert: Callable[[bytes, int], Any]
    frame_block: Callable[..., tuple[bytes | bytearray, list[tuple[int, int]]]]
    line_ends: Callable[[bytes], list[int]]

    def decoder(
        self,
        select: Callable[[Relation], Targets] | None = None,
        *,
        after: Position = ORIGIN,
        id_key: bytes = ID_KEY,
        **options: object,
    ) -> Decoder:
        """A decoder that by default selects everything, with `action table` as the target."""
        return self.make_decoder(select or select_all, id_key=id_key, after=after, **options)

    def decode(self, frames: Iterable[bytes], *, after: Position = ORIGIN) -> Block:
        """Everything in one block."""
        decoder = self.decoder(after=after)
        for frame in frames:
            decoder.feed(frame)
        return decoder.take()


def select_all(relation: Relation) -> Targets:
    name = f"{relation.namespace}.{relation.name}"
    return Targets(f"insert {name}", f"update {name}", f"delete {name}", f"truncate {name}")


def encode(events: list[Event]) -> list[bytes]:
    """Each event as it is encoded."""
    data, ends, _ = encode_events(events)
    return [bytes(data[start + 1 : end]) for start, end in pairwise([-1, *ends])]


def positions(block: Block) -> list[Position]:
    return [Position(*pair) for pair in zip(block.commit_lsns, block.ordinals, strict=True)]


def comparable(block: Block) -> tuple[object, ...]:
    """All that a block says. Events as they encode: raw JSON has no equality of its own."""
    return (
        encode(block.events),
        block.targets,
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
    )


IMPLEMENTATIONS = (
    Implementation("c", _pgoutput.Decoder, _values.convert, _frames.frame_block, _frames.line_ends),
    Implementation("python", decoder.Decoder, values.convert, pure_frames.frame_block, pure_frames.line_ends),
)
