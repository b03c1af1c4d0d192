"""The sink that publishes to a stream of RabbitMQ: set-up; `publisher` does the rest.

A second stream has Ditto's own record: whose the stream is, how far it is, and from which offset on the events
themselves say more. Where a session begins, it overtakes every other one in both streams (`writer`), and reads the
record, and the events from that offset on: the last one of them is the tail.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from rstream import schema

from ditto.errors import SinkError, SinkLost
from ditto.lsn import Checkpoint
from ditto.routing.router import checkpoint_subject, snapshot_subjects
from ditto.sinks.base import Batch, Capabilities, Clock, PipelineId, SinkState
from ditto.sinks.own_stores import OwnStores
from ditto.sinks.owner import check_owner, claimed_by, with_source
from ditto.sinks.progress import Progress
from ditto.sinks.rabbitmq.amqp import message
from ditto.sinks.rabbitmq.connecting import connect
from ditto.sinks.rabbitmq.connection import Connection
from ditto.sinks.rabbitmq.publisher import Publisher
from ditto.sinks.rabbitmq.stored_state import KIND, Record, encode_record, later
from ditto.sinks.rabbitmq.streams import Found, Streams, create
from ditto.sinks.rabbitmq.writer import Writer, greatest_id

if TYPE_CHECKING:
    from ditto.config import PipelineConfig

_EVENTS: Final = 1
_OWN: Final = 2
"""Numbers of publishers."""
_AROUND_BYTES: Final = 256
"""Of a frame."""


class RabbitMQSink(OwnStores):
    """A sink (see `base.Sink`)."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        if config.rabbitmq is None:
            raise RuntimeError("there is no section rabbitmq")
        self._config = config.rabbitmq
        self._stream = config.rabbitmq.stream
        self._accepts_gap = config.delivery.accepts_gap
        self._clock = clock
        self._mark_route = checkpoint_subject(config.events.prefix).encode()
        self._streams = Streams(config.events.prefix, config.rabbitmq.stream)
        self._progress = Progress()
        self._publisher = Publisher(
            self._progress, record_route=self._mark_route, controls=snapshot_subjects(config.events.prefix)
        )
        self._connection: Connection | None = None
        self._seen: Found | None = None

    @property
    def capabilities(self) -> Capabilities:
        """The largest message is that of the server's largest frame, which is known once it is connected."""
        connection = self._connection
        return Capabilities(
            KIND,
            self._stream.name,
            "rabbitmq.stream.name",
            "raise stream.frame_max of the server",
            max_bytes=0 if connection is None else connection.frame_max - _AROUND_BYTES,
            is_fenced=True,
        )

    # ------------------------------------------------------------------------------------ set-up

    async def connect(self) -> None:
        """Connect to a node that answers."""
        self._connection = await connect(self._config, clock=self._clock, on_failure=self._publisher.fail)

    @property
    def _server(self) -> Connection:
        if self._connection is None:
            raise SinkLost("not connected to RabbitMQ")
        return self._connection

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Look at both streams without changing anything."""
        found = await self._streams.look(self._server)
        self._check_owner(found.record.owner, pipeline)
        self._seen = found
        return found.state

    def _check_owner(self, owner: PipelineId | None, pipeline: PipelineId) -> None:
        check_owner(
            owner,
            pipeline,
            accepts_gap=self._accepts_gap,
            things=f"the streams {self._stream.name} and {self._stream.own}",
            settings="rabbitmq.stream.name",
            context={"stream": self._stream.name},
        )

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Create the streams that are missing."""
        del routes
        await self.inspect(pipeline)
        await create(self._server, self._stream)

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> PipelineId | None:
        """Store a record that says whose the stream is; returns whose it was."""
        del routes
        await create(self._server, self._stream)
        before = (await self.inspect(pipeline)).owner
        if before is not None and before.system_identifier == pipeline.system_identifier:
            return before
        claimant = claimed_by(pipeline, before)
        server = self._server
        own = Writer(server, self._stream.own, number=_OWN, on_progress=_nothing)
        mark = await own.open(self._mark_route)
        record = await self._streams.record(server, mark)
        self._check_owner(record.owner, pipeline)
        await own.until(own.publish([self._message(replace(record, owner=claimant))]))
        await server.demand("give up a publisher", schema.DeletePublisher, _OWN)
        return before

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Overtake every other session, and find the tail."""
        server, publisher, streams = self._server, self._publisher, self._streams
        await create(server, self._stream)
        own = Writer(server, self._stream.own, number=_OWN, on_progress=publisher.advance)
        record = await streams.record(server, await own.open(self._mark_route))
        self._check_owner(record.owner, pipeline)
        if not await greatest_id(server, self._stream.name):
            # The stream is a new one: what the record says of events is about another one, which was deleted.
            self._seen, record = None, Record(record.owner)
            await own.until(own.publish([self._message(record)]))
        events = Writer(server, self._stream.name, number=_EVENTS, on_progress=publisher.advance)
        found = await streams.found(server, record, await events.open(self._mark_route))
        if self._seen is not None:  # the events before the mark may have been removed since
            found = found._replace(place=later(self._seen.place, found.place))
        record = Record(record.owner or pipeline, found.place, found.end, found.control)
        await own.until(own.publish([self._message(record)]))
        publisher.begin(events, own, record=record, max_bytes=self.capabilities.max_bytes)
        return found.state

    def _message(self, record: Record) -> bytes:
        return message(self._mark_route, [], encode_record(record))

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """One stream takes them all."""

    # ------------------------------------------------------------------------------------ messages

    async def send(self, batch: Batch) -> None:
        """Take the messages. Raises MessageTooLarge."""
        self._publisher.send(batch)

    @property
    def blocked(self) -> SinkError | None:
        """For an end that nothing has to wait for: see `Connection.blocked`."""
        return None if self._connection is None else self._connection.blocked

    async def flush(self) -> None:
        """Nothing is kept open: all that was sent will be acknowledged."""
        self._progress.check()

    async def acknowledged(self) -> int:
        """See `base.Sink`."""
        return await self._progress.acknowledged()

    async def close(self) -> None:
        """Close the connection. The next session goes on after what the server has stored by then."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._publisher.fail(SinkLost(f"the connection to {connection.where} was closed"))
            await connection.close()

    # ------------------------------------------------------------------------------------ beside the messages

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """In the record: the stream of events holds no checkpoints."""
        self._publisher.checkpoint(checkpoint, number=number)

    @property
    def may_lose_tail(self) -> bool:
        """Segments are removed as time goes by. And where the record is older, more events have to be read."""
        return True

    async def save_beside(self, checkpoint: Checkpoint) -> None:
        """In the record."""
        await self._publisher.store(checkpoint=checkpoint)

    async def save_snapshots(self, control: bytes) -> None:
        """Every record has the newest control event that is stored, this one or a newer one."""
        del control
        await self._publisher.store()

    async def save_source(self, pipeline: PipelineId) -> None:
        """Timeline and publication, in the record."""
        await self._publisher.store(owner=with_source(self._publisher.owner, pipeline))

    async def last_payloads(self, pattern: str) -> Mapping[str, bytes]:
        """Control events are found with the tail. Descriptions are not: each session stores them before a table's first
        event.
        """
        del pattern
        return {}


def _nothing() -> None:
    """There is nothing to go on with."""
