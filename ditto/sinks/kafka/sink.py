"""The sink that publishes to topics of Kafka: set-up; `publisher` does the rest.

How far a pipeline is, one record says that each transaction ends with. Nothing else is asked for it, least of all the
topics of events, which others may delete from. `Producer.init_transactions` fences every other session of the slot, and
waits until what that one has been committing is committed: the record that is read after it is the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from confluent_kafka import KafkaException, Producer

from ditto.errors import NotNow, SinkError, SinkLost
from ditto.lsn import Checkpoint
from ditto.sinks.base import Batch, Capabilities, Clock, PipelineId, SinkState
from ditto.sinks.io_thread import IoThread
from ditto.sinks.kafka.client import Admin, make, request_timeout_s, settings
from ditto.sinks.kafka.client_errors import error_of, translate
from ditto.sinks.kafka.publisher import MOST_MESSAGES, Publisher
from ditto.sinks.kafka.records import Records
from ditto.sinks.kafka.stored_state import (
    OWNER,
    TOPICS,
    check_owner,
    checkpoint_key,
    encode_topics,
    read_owner,
    read_state,
    read_topics,
    transactional_id,
)
from ditto.sinks.kafka.topics import NAMES, TopicAdmin, Topics
from ditto.sinks.own_stores import OwnStores
from ditto.sinks.owner import claimed_by, encode_owner, with_source

if TYPE_CHECKING:
    from ditto.config import PipelineConfig

log = structlog.get_logger()

T = TypeVar("T")

_CLOSE_TIMEOUT_S: Final = 5.0
_LEAST_TRANSACTION_S: Final = 2.0


class KafkaSink(OwnStores):
    """A `Sink` (see `sinks.base`). Its transactional id fences."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        if config.kafka is None:
            raise RuntimeError("there is no section kafka")
        self._config = config.kafka
        self._prefix = config.events.prefix
        self._accepts_gap = config.delivery.accepts_gap
        self._topics = Topics(config.kafka, config.events.prefix)
        self._thread = IoThread("ditto-kafka")
        self._publisher = Publisher(self._topics, timeout_s=config.kafka.ack_timeout_s, clock=clock)
        self._admin: Admin | None = None
        self._topic_admin: TopicAdmin | None = None
        self._records: Records | None = None
        self._own: Mapping[bytes, bytes | None] = {}
        self._listed: list[str] = []
        self._is_closed = False

    @property
    def capabilities(self) -> Capabilities:
        """The largest message is that of the topic that takes the least."""
        return Capabilities(
            "topic",
            self._topics.checkpoints,
            "kafka.checkpoint_topic and events.prefix",
            "raise max.message.bytes of the topics (kafka.topics.config where Ditto creates them)",
            max_bytes=0 if self._topic_admin is None else self._topic_admin.max_bytes,
            ack_interval=MOST_MESSAGES,
            route_limit=NAMES,
            has_keys=True,
            is_fenced=True,
        )

    @property
    def blocked(self) -> SinkError | None:
        """No broker is there."""
        return self._publisher.blocked

    # ------------------------------------------------------------------------------------ set-up

    async def connect(self) -> None:
        """Connect to a broker that answers."""
        await self._thread.run(self._connect)

    def _connect(self) -> None:
        admin = Admin(self._config, self._topics.access)
        self._admin = admin
        admin.metadata()
        self._topic_admin = TopicAdmin(admin, self._config, self._topics)
        self._records = Records(self._config, admin)

    @property
    def _topic_control(self) -> TopicAdmin:
        if self._topic_admin is None:
            raise SinkLost("not connected to Kafka")
        return self._topic_admin

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Look at the records that are committed, without changing anything."""
        return await self._thread.run(partial(self._look, pipeline, waits=False))

    def _look(self, pipeline: PipelineId, *, waits: bool) -> SinkState:
        """`waits`: for transactions that have not ended, so that nothing is hidden behind them. Only for others: the
        slot's own would not end. Without that a record that may be committed counts: PostgreSQL may have been told of
        it before consumers can see it. `open` finds out.
        """
        existing, records = self._topic_control.existing(), self._records
        if records is None:
            raise SinkLost("not connected to Kafka")
        own, checkpoints = self._topics.own, self._topics.checkpoints
        self._topic_control.check_visible({own, checkpoints} - existing, "look at Ditto's own topics")
        self._own = {}
        if own in existing:
            start, end = records.offsets(own, is_committed=not waits)
            self._own = records.newest(own, end, start)
        owner = read_owner(self._own.get(OWNER), own)
        check_owner(owner, pipeline, own, accepts_gap=self._accepts_gap)
        self._listed = read_topics(self._own.get(TOPICS), own)
        record = None
        if checkpoints in existing:
            key = checkpoint_key(pipeline)
            start, end = records.offsets(checkpoints, is_committed=not waits)
            record = None if waits else records.pending(checkpoints, lambda message: message.key() == key, end)
            record = record or records.last(checkpoints, lambda message: message.key() == key, start, end)
        return read_state(owner, None if record is None else record.value(), checkpoints)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Create the topics that are missing."""
        await self.inspect(pipeline)
        await self._ensure(self._topics.topics_of(routes))

    async def _ensure(self, names: Collection[str]) -> None:
        wanted = {self._topics.checkpoints, self._topics.own, *names}
        await self._thread.run(partial(self._topic_control.ensure, wanted))

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> PipelineId | None:
        """Store a record that says whose the topics are; returns whose they were."""
        await self._ensure(self._topics.topics_of(routes))
        before = (await self.inspect(pipeline)).owner
        if before is None or before.system_identifier != pipeline.system_identifier:
            await self._thread.run(partial(self._write_owner, encode_owner(claimed_by(pipeline, before))))
        return before

    def _write_owner(self, owner: bytes) -> None:
        """Outside of the slot's transactions: the former holder may still be at work. `open` looks who was last."""
        producer: Any = make(Producer, {**settings(self._config), "acks": "all", "linger.ms": 0})
        failed: list[Any] = []
        producer.produce(
            self._topics.own, owner, OWNER, 0, on_delivery=lambda error, _: failed.append(error) if error else None
        )
        left = producer.flush(request_timeout_s(self._config))
        if failed or left:
            producer.purge()
            if failed:
                own, access = self._topics.own, self._topics.access
                doing = f"store whose the topics are in topic {own}"
                raise translate(failed[0], doing, access, operation="Write", topic=own)
            raise SinkLost("the record that says whose the topics are was not stored in time")

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Fence every other session of the slot, and find the record of the last transaction."""
        await self._ensure(())
        state = await self._thread.run(partial(self._open, pipeline))
        await self._ensure(self._listed)
        self._publisher.set_limit(self._topic_control.max_bytes)
        if state.owner is None:
            self._publisher.keep(OWNER, encode_owner(pipeline))
        return state

    def _open(self, pipeline: PipelineId) -> SinkState:
        timeout_s = self._config.ack_timeout_s
        identifier = transactional_id(pipeline)
        producer: Any = make(
            Producer,
            {
                "linger.ms": 5,
                **settings(self._config),
                "transactional.id": identifier,
                "transaction.timeout.ms": round(2000 * max(timeout_s, _LEAST_TRANSACTION_S)),
                "message.max.bytes": max(1000, self._topic_control.max_bytes),
                "queue.buffering.max.messages": 0,
                "queue.buffering.max.kbytes": 2147483647,
                "partitioner": "murmur2_random",
                "delivery.report.only.error": True,
                "on_delivery": self._publisher.on_delivery,
                "error_cb": self._publisher.on_error,
            },
        )
        try:
            producer.list_topics(timeout=timeout_s)  # without a connection, librdkafka tries the rest in half a second
            producer.init_transactions(request_timeout_s(self._config))
        except KafkaException as exception:
            doing = f"take transactional id {identifier}"
            raise translate(error_of(exception), doing, self._topics.access) from None
        state = self._look(pipeline, waits=True)
        self._publisher.begin(producer, self._thread, pipeline)
        return state

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """Create the topics that are missing, and note which there are."""
        names = self._topics.topics_of(routes)
        await self._ensure(names)
        self._topics.add(routes)
        self._publisher.set_limit(self._topic_control.max_bytes)
        self._list_topics(names)

    def _list_topics(self, names: Collection[str]) -> None:
        """Have the list of topics stored with the next transaction, where one is new: readers follow it."""
        new = set(names) - {*self._listed, self._topics.own}
        if new:
            self._listed = sorted({*self._listed, *new})
            self._publisher.keep(TOPICS, encode_topics(self._listed))

    # ------------------------------------------------------------------------------------ messages

    async def send(self, batch: Batch) -> None:
        """Take the messages. Raises MessageTooLarge."""
        unknown = set(batch.routes) - self._topics.names.keys()
        if unknown:  # a pattern stood for them, or they are Ditto's own
            await self.ensure_routes({route.decode() for route in unknown})
        self._publisher.send(batch)

    async def flush(self) -> None:
        """End the transaction."""
        self._publisher.flush()

    async def acknowledged(self) -> int:
        """The delivery number that the last committed transaction ends with."""
        return await self._publisher.acknowledged()

    async def close(self) -> None:
        """Give up the clients. What was not committed is not stored."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._admin is not None:
            self._admin.is_given_up = True
        self._publisher.fail(SinkLost("the connection to Kafka was closed"))
        self._publisher.give_up()
        closing = self._thread.run(self._release)
        self._thread.end()
        await asyncio.wait({closing}, timeout=_CLOSE_TIMEOUT_S)
        if not closing.done():
            log.warning("sink.still_writing", waited_s=_CLOSE_TIMEOUT_S, **self.capabilities.context)

    def _release(self) -> None:
        self._publisher.release()
        records, self._records = self._records, None
        if records is not None:
            records.close()
        self._admin = None

    # ------------------------------------------------------------------------------------ beside the messages

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """The record alone."""
        self._publisher.checkpoint(checkpoint, number=number)

    async def save_snapshots(self, control: bytes) -> None:
        """Ditto's own topic keeps all control events."""

    async def save_source(self, pipeline: PipelineId) -> None:
        """Timeline and publication, in the owner's record."""
        owner = read_owner(self._own.get(OWNER), self._topics.own)
        await self._publisher.store(OWNER, encode_owner(with_source(owner, pipeline)))

    async def restore(self) -> None:
        """Ditto's own topic is in few transactions: where somebody has deleted it, the next session makes it anew."""
        if await self._thread.run(partial(self._topic_control.is_gone, self._topics.own)):
            raise NotNow(
                f"topic {self._topics.own} was deleted",
                hint="the next session creates it, where it may: readers find the other topics by it",
                topic=self._topics.own,
            )

    async def last_payloads(self, pattern: str) -> Mapping[str, bytes]:
        """Of the routes of Ditto's own topic, as it was when the sink was opened."""
        found = {}
        beginning = pattern.removesuffix(">")
        for key, payload in self._own.items():
            route = key.partition(b"@")[0].decode(errors="replace")
            if payload and (route.startswith(beginning) if pattern.endswith(">") else route == pattern):
                found[route] = payload
        return found
