"""The sink that stores events in one JetStream stream: set-up; `publisher` does the rest."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Mapping
from functools import partial
from typing import Any

from ditto.config import PipelineConfig
from ditto.errors import SinkError, SinkLost
from ditto.routing.router import checkpoint_subject
from ditto.sinks.base import Batch, Capabilities, Clock, PipelineId, SinkState
from ditto.sinks.jetstream.capabilities import capabilities
from ditto.sinks.jetstream.checkpoints import Checkpoints
from ditto.sinks.jetstream.connection import Connection, check_contract
from ditto.sinks.jetstream.lease_bucket import LeaseBucket
from ditto.sinks.jetstream.message_size import largest_message
from ditto.sinks.jetstream.object_store import ObjectBucket
from ditto.sinks.jetstream.publisher import Publisher
from ditto.sinks.jetstream.servers import close, connect, usable
from ditto.sinks.jetstream.stream import Stream
from ditto.sinks.jetstream.stream_risks import check_usable
from ditto.sinks.jetstream.subjects import folded


class JetStreamSink:
    """A `Sink` (see `sinks.base`)."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        self._config = config.nats
        self._lease_ttl_s = config.delivery.lease_ttl_s
        self._accepts_gap = config.delivery.accepts_gap
        self._clock = clock
        self._checkpoint_subject = checkpoint_subject(config.events.prefix)
        # The one subject that covers all of the template's, where it is not that each table needs its own.
        self._wildcard = f"{config.events.prefix}.>" if config.events.subject.startswith("{prefix}.") else None
        self._client: Connection | None = None
        self._stream: Stream
        self._publisher: Publisher
        self.checkpoints: Checkpoints
        """Once it is claimed."""

    @property
    def capabilities(self) -> Capabilities:
        """The largest message is that of the connection's server and the stream's settings, whichever is smaller."""
        if self._client is None:
            return capabilities(self._config)
        return capabilities(self._config, max_bytes=self._max_bytes(), ack_interval=self._publisher.ack_interval)

    def _max_bytes(self) -> int:
        if self._client is None:
            return 0
        return largest_message(self._client.max_payload, self._stream.config).size

    @property
    def waited_s(self) -> float:
        """Seconds that `send` has waited for the end of a batch."""
        return self._publisher.waited_s

    @property
    def foreign_answers(self) -> int:
        """Answers to events that did not come from JetStream."""
        return self._publisher.foreign_answers

    @property
    def retries(self) -> int:
        """Nothing is sent again."""
        return 0

    @property
    def blocked(self) -> SinkError | None:
        """What stores nothing ends the session."""
        return None

    # ------------------------------------------------------------------------------------ set-up

    async def connect(self) -> None:
        """Connect to a server on which JetStream answers."""
        self._client = await connect(self._config, accept=partial(usable, config=self._config))
        self._stream = Stream(self._client, self._config, accepts_gap=self._accepts_gap)
        self._publisher = Publisher(
            self._client, stream=self._config.stream, ack_timeout_s=self._config.ack_timeout_s, clock=self._clock
        )
        check_contract(self._client)

    def lease_store(self, slot: str) -> LeaseBucket:
        """A key-value bucket, through the same connection: what cannot renew the lease cannot store events either."""
        if self._client is None:
            raise SinkLost("not connected to NATS")
        return LeaseBucket(self._client, self._config, slot=slot, ttl_s=self._lease_ttl_s)

    def object_store(self) -> ObjectBucket:
        """A bucket of JetStream's, through the same connection."""
        if self._client is None:
            raise SinkLost("not connected to NATS")
        return ObjectBucket(self._client, self._config)

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Look at the stream without changing anything."""
        return await self._stream.inspect(pipeline)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Create the stream where it is missing, and see that it can hold events on these subjects."""
        stream, needed = self._stream, await self._ensure_stream(routes)
        check_usable(stream.name, stream.config)
        stream.check_owner(pipeline)
        await stream.cover(needed, self._wildcard)

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> PipelineId | None:
        """Create the stream where it is missing, and write the owner into its metadata; returns the one before."""
        stream, needed = self._stream, await self._ensure_stream(routes)
        stream.check()
        stream.check_owner(pipeline)
        before = stream.owner
        await stream.claim(pipeline)
        if stream.missing_subjects(needed):
            await stream.cover(needed, self._wildcard)
        return before

    async def _ensure_stream(self, routes: Collection[str]) -> set[str]:
        """The subjects that it has to take."""
        stream = self._stream
        needed = {self._checkpoint_subject, *routes}
        if not await stream.look():
            await stream.create(folded(needed, self._wildcard))
            await stream.look()
        return needed

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Find the tail: the chain begins after it."""
        stream = self._stream
        await stream.look()
        state = await stream.find_tail(pipeline)
        self.checkpoints = Checkpoints(stream, self._publisher, pipeline=pipeline, subject=self._checkpoint_subject)
        await self._publisher.begin(
            stream.last_sequence, max_size=self._max_bytes(), any_subject=self._checkpoint_subject
        )
        return state

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """Add subjects to the stream where it does not take them yet."""
        if self._stream.missing_subjects(routes):
            # The server applies an update between two messages; the chain goes on undisturbed.
            if not is_ahead:
                await self._publisher.settle()  # with many subjects it takes longer than an open batch may be idle
            await self._stream.cover(routes, self._wildcard)

    # ------------------------------------------------------------------------------------ messages

    async def last_payloads(self, pattern: str) -> Mapping[str, bytes]:
        """The last message on each subject that matches, as the stream's leader has it."""
        return await self._stream.reader.last_payloads(pattern)

    @property
    def schemas(self) -> JetStreamSink:
        """The stream keeps the descriptions."""
        return self

    def send(self, batch: Batch) -> Coroutine[Any, Any, None]:
        """Send the messages in a batch of JetStream's. Raises MessageTooLarge."""
        return self._publisher.send(batch)

    async def flush(self) -> None:
        """End the open batch."""
        self._publisher.flush()

    def acknowledged(self) -> Coroutine[Any, Any, int]:
        """Wait until more is stored, or for what ends the session."""
        return self._publisher.acknowledged()

    async def close(self) -> None:
        """Close the connection. What was not acknowledged is sent again by the next session."""
        client, self._client = self._client, None
        if client is not None:
            self._publisher.close()
            await close(client)
