"""How far a pipeline is: the record in Ditto's own stream, which is as of an offset of the stream of events."""

from __future__ import annotations

from typing import Final

import msgspec

from ditto.errors import AnswerUnreadable
from ditto.lsn import Checkpoint
from ditto.sinks.base import PipelineId
from ditto.sinks.event_place import EventPlace

KIND: Final = "stream"
"""The noun in messages."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that Ditto keeps beside the events. Of all records the last one counts."""

    owner: PipelineId | None = None
    place: EventPlace | None = None
    """The events before `offset` say nothing beyond it."""
    offset: int = 0
    """Of the stream of events: what comes from there on may say more than the record."""
    control: str = ""
    """The newest control event of snapshots before `offset`; empty for none."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Record).decode


def encode_record(record: Record) -> bytes:
    return _encode(record)


def decode_record(body: bytes, stream: str) -> Record:
    """Raises AnswerUnreadable."""
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        raise AnswerUnreadable(
            f"a message in stream {stream} does not have the form that Ditto knows",
            hint="does something else publish to that stream? Take its right to do so away, and let Ditto have a "
            "stream of its own (rabbitmq.stream.name)",
            stream=stream,
        ) from None


def place_of_checkpoint(checkpoint: Checkpoint) -> EventPlace:
    """Where a pipeline is after a checkpoint."""
    return EventPlace(checkpoint.position, checkpoint.last)


def later(place: EventPlace | None, other: EventPlace | None) -> EventPlace | None:
    """The one that is further."""
    if place is None or other is None:
        return other if place is None else place
    return other if other.position > place.position else place
