"""Creates the two streams, and finds in them how far the pipeline is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

from rstream import schema

from ditto.errors import ChainBroken, StreamNotFound
from ditto.hints import rabbitmq_definitions
from ditto.routing.router import checkpoint_subject, description_subjects, snapshot_subjects
from ditto.sinks.base import SinkState
from ditto.sinks.event_place import EventPlace, place_of
from ditto.sinks.rabbitmq.scanning import Message, Scan, messages, messages_of
from ditto.sinks.rabbitmq.server_errors import NO_STREAM, OK, STREAM_EXISTS
from ditto.sinks.rabbitmq.stored_state import Record, decode_record, later
from ditto.sinks.rabbitmq.writer import Mark, greatest_id, read_mark

if TYPE_CHECKING:
    from ditto.config import RabbitStream
    from ditto.sinks.rabbitmq.connection import Connection

_OWN_SEGMENT_BYTES: Final = 5_000_000
_OWN_BYTES: Final = 20_000_000
"""Ditto's own stream keeps this much: only its last record counts."""


class Found(NamedTuple):
    """What the streams say."""

    record: Record
    place: EventPlace | None
    control: str
    end: int = 0
    """The offset up to which the stream of events was read; at the opening of a session that of its mark."""

    @property
    def state(self) -> SinkState:
        """The same as the pipeline wants it."""
        owner, place = self.record.owner, self.place
        if place is None:
            return SinkState(owner, None, snapshots=self.control.encode())
        return SinkState(
            owner, place.position, place.last, mark=place.mark, snapshots=self.control.encode(), group=place.group
        )


async def existing(connection: Connection, *names: str) -> set[str]:
    """Those of them that exist."""
    answer = await connection.ask("look for streams", schema.Metadata, list(names))
    found = set()
    for each in answer.metadata:
        if each.response_code not in {OK, NO_STREAM}:
            raise connection.refused(each.response_code, f"look at stream {each.name}", each.name)
        if each.response_code == OK:
            found.add(each.name)
    return found


async def create(connection: Connection, stream: RabbitStream) -> None:
    """Create what is missing of the two. Raises StreamNotFound where that is not allowed."""
    missing = {stream.name, stream.own} - await existing(connection, stream.name, stream.own)
    if not missing:
        return
    if not stream.create:
        names = sorted(missing)
        are = f"streams {' and '.join(names)} do" if len(names) > 1 else f"stream {names[0]} does"
        raise StreamNotFound(
            f"{are} not exist, and rabbitmq.stream.create is false",
            hint=f"create what is missing:\n{creation(stream, names, connection.access.vhost)}",
            stream=names[0],
        )
    for name, settings in _settings(stream).items():
        if name in missing:
            doing = f"create stream {name}"
            given = [schema.Property(key, str(value)) for key, value in settings.items()]
            answer = await connection.ask(doing, schema.Create, name, given)
            if answer.response_code not in {OK, STREAM_EXISTS}:
                raise connection.refused(answer.response_code, doing, name, schema.Create)


def creation(stream: RabbitStream, names: Collection[str], vhost: str) -> str:
    """The command that creates these, as Ditto would."""
    queues = [
        {
            "name": name,
            "vhost": vhost,
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-queue-type": "stream", **{f"x-{key}": value for key, value in settings.items()}},
        }
        for name, settings in _settings(stream).items()
        if name in names
    ]
    return rabbitmq_definitions(queues=queues)


def _settings(stream: RabbitStream) -> dict[str, dict[str, str | int]]:
    """Those of both streams, by name."""
    common: dict[str, str | int] = {"queue-leader-locator": "least-leaders"}
    if stream.replicas is not None:
        common["initial-cluster-size"] = stream.replicas
    limits: dict[str, str | int] = {}
    if stream.max_bytes:
        limits["max-length-bytes"] = stream.max_bytes
    if stream.max_age_s:
        limits["max-age"] = f"{round(stream.max_age_s)}s"
    own = {"max-length-bytes": _OWN_BYTES, "stream-max-segment-size-bytes": _OWN_SEGMENT_BYTES}
    return {stream.name: common | limits, stream.own: common | own}


class Streams:
    """Those of one pipeline."""

    def __init__(self, prefix: str, stream: RabbitStream) -> None:
        self._stream = stream
        self._mark_route = checkpoint_subject(prefix)
        self._descriptions = description_subjects(prefix)
        self._controls = snapshot_subjects(prefix)

    async def look(self, connection: Connection) -> Found:
        """What they say now; a session may be at work."""
        names = await existing(connection, self._stream.name, self._stream.own)
        record = Record()
        if self._stream.own in names:
            record = await self.record(connection, None)
        if self._stream.name not in names or not await greatest_id(connection, self._stream.name):
            return Found(Record(record.owner), None, "")
        return await self.found(connection, record, None)

    async def record(self, connection: Connection, mark: Mark | None) -> Record:
        """The last record. With `mark`, which is stored, the last one before it. Raises ChainBroken where another
        session has one after it.
        """
        if mark is None and not await greatest_id(connection, self._stream.own):
            return Record()
        async with aclosing(self._backwards(connection, self._stream.own)) as chunks:
            async for chunk in chunks:
                for each in reversed(list(messages_of(chunk))):
                    read = read_mark(each.body)
                    if mark is not None:
                        mark = self._passed(mark, read, self._stream.own)
                    elif read is None:
                        return decode_record(each.body, self._stream.own)
        return Record()

    def _passed(self, mark: Mark, read: Mark | None, stream: str) -> Mark | None:
        """None where it is the mark; the mark where it is still to be found."""
        if read == mark:
            return None
        if read is not None and read.session >= mark.session:
            raise _overtaken(stream)
        return mark

    async def _backwards(self, connection: Connection, stream: str) -> AsyncGenerator[schema.Deliver]:
        """Its chunks, the last one first."""
        scan = Scan(connection, stream)
        chunk = await scan.last_chunk()
        while chunk is not None:
            yield chunk
            first = chunk.chunk_first_offset
            if not first:
                return
            async with aclosing(scan.chunks(first - 1)) as chunks:
                chunk = await anext(chunks)
            if chunk.chunk_first_offset >= first:  # those before are gone
                return

    async def found(self, connection: Connection, record: Record, mark: Mark | None) -> Found:
        """What the events say from the record's offset on. With `mark`, which is stored, up to it. Raises ChainBroken
        where that is not to be found.
        """
        place, control, offset = record.place, record.control, 0
        name = self._stream.name
        last = await Scan(connection, name).last_chunk()
        if last is None:
            return Found(record, place, control)
        begin, end = min(record.offset, last.chunk_first_offset), last.chunk_first_offset + last.num_records - 1
        async with aclosing(messages(connection, name, begin=begin, end=end)) as parts:
            async for part in parts:
                event: Message | None = None
                for each in part:
                    offset = each.offset
                    if each.route == self._mark_route:
                        read = read_mark(each.body)
                        if mark is not None and self._passed(mark, read, name) is None:
                            return Found(record, later(place, _place(event)), control, offset)
                    elif not each.route.startswith(self._descriptions) and each.position is not None:
                        event = each
                        if each.route.startswith(self._controls):
                            control = each.body.decode()
                place = later(place, _place(event))
        if mark is not None:
            raise _overtaken(name)
        return Found(record, place, control, offset)


def _place(event: Message | None) -> EventPlace | None:
    if event is None or event.position is None:
        return None
    return place_of(event.position, event.body, event.headers)


def _overtaken(stream: str) -> ChainBroken:
    return ChainBroken(
        f"another session has opened stream {stream} at the same time",
        hint="let no other Ditto write to the same stream. Ditto looks again",
        stream=stream,
    )
