"""How far a pipeline is, as the record of each transaction says; and whose the topics are."""

from __future__ import annotations

from typing import Final

import msgspec

from ditto.decoding.change import SnapshotMark
from ditto.errors import AnswerUnreadable
from ditto.formats.own_headers import pairs
from ditto.lsn import Checkpoint, Position, Transaction, format_lsn, parse_lsn
from ditto.sinks import owner as owners
from ditto.sinks.base import PipelineId, SinkState
from ditto.sinks.event_place import EventPlace, place_of

OWNER: Final = b"owner"
"""Key of the record in Ditto's own topic that says whose the topics are."""
TOPICS: Final = b"topics"
"""Key of the record there that lists the topics."""


class _Last(msgspec.Struct, rename="camel", omit_defaults=True):
    lsn: str
    commit_time: str
    xid: int | None = None


class _Record(msgspec.Struct, rename="camel", omit_defaults=True):
    position: str
    slot: str
    system: str
    last: _Last | None = None
    mark: SnapshotMark | None = None
    group: int = 0


_encode: Final = msgspec.json.Encoder().encode
_decode_record: Final = msgspec.json.Decoder(_Record).decode
_decode_topics: Final = msgspec.json.Decoder(list[str]).decode


def checkpoint_key(pipeline: PipelineId) -> bytes:
    """Of the record in the topic of checkpoints."""
    return f"{pipeline.system_identifier}/{pipeline.slot}".encode()


def transactional_id(pipeline: PipelineId) -> str:
    """The same for each session of a slot: the newest one fences the others."""
    return f"ditto.{pipeline.system_identifier}.{pipeline.slot}"


def record_of_checkpoint(checkpoint: Checkpoint, pipeline: PipelineId) -> bytes:
    """The record of a transaction that ends with a checkpoint."""
    return _record(EventPlace(checkpoint.position, checkpoint.last), pipeline)


def record_of_event(position: Position, payload: bytes, headers: bytes, pipeline: PipelineId) -> bytes:
    """The record of a transaction that ends with an event: what the next session has to know of it."""
    return _record(place_of(position, payload, pairs(headers)), pipeline)


def _record(place: EventPlace, pipeline: PipelineId) -> bytes:
    last = place.last
    return _encode(
        _Record(
            str(place.position),
            pipeline.slot,
            pipeline.system_identifier,
            None if last is None else _Last(format_lsn(last.commit_lsn), last.commit_time, last.xid),
            place.mark,
            place.group,
        )
    )


def read_state(owner: PipelineId | None, record: bytes | None, topic: str) -> SinkState:
    """Raises AnswerUnreadable."""
    if record is None:
        return SinkState(owner, None)
    try:
        found = _decode_record(record)
        position = Position.parse(found.position)
        last = found.last
        transaction = None if last is None else Transaction(parse_lsn(last.lsn), last.commit_time, last.xid)
    except (msgspec.MsgspecError, ValueError):
        raise _unreadable(topic) from None
    return SinkState(owner, position, transaction, mark=found.mark, group=found.group)


def read_owner(record: bytes | None, topic: str) -> PipelineId | None:
    """Raises AnswerUnreadable."""
    try:
        return None if record is None else owners.decode_owner(record)
    except msgspec.MsgspecError:
        raise _unreadable(topic) from None


def encode_topics(names: list[str]) -> bytes:
    return _encode(names)


def read_topics(record: bytes | None, topic: str) -> list[str]:
    """Raises AnswerUnreadable."""
    try:
        return [] if record is None else _decode_topics(record)
    except msgspec.MsgspecError:
        raise _unreadable(topic) from None


def check_owner(owner: PipelineId | None, claimant: PipelineId, topic: str, *, accepts_gap: bool) -> None:
    """Raise StreamOwned where the topics belong to another slot or another database cluster."""
    owners.check_owner(
        owner,
        claimant,
        accepts_gap=accepts_gap,
        things=f"the topics of prefix {claimant.prefix if owner is None else owner.prefix}",
        settings="events.prefix",
        context={"topic": topic},
    )


def _unreadable(topic: str) -> AnswerUnreadable:
    return AnswerUnreadable(
        f"a record in topic {topic} does not have the form that Ditto knows",
        hint="does something else write to that topic? Take its right to do so away, and let Ditto have a topic of its "
        "own (kafka.checkpoint_topic, kafka.own_topic)",
        topic=topic,
    )
