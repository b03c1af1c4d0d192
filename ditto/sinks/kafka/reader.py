"""Reads the topics of one prefix back for the commands that look at them, as a `read_committed` consumer sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from ditto.errors import SinkError, StreamNotFound
from ditto.lsn import Position
from ditto.routing.router import description_subjects
from ditto.sinks.base import Held, MessageKind, Part, PipelineId, ReadMessage, Start
from ditto.sinks.io_thread import IoThread
from ditto.sinks.kafka.client import Admin, make, settings
from ditto.sinks.kafka.client_errors import translate
from ditto.sinks.kafka.merging import Merge, Place, order
from ditto.sinks.kafka.messages import POSITION
from ditto.sinks.kafka.records import READER_SETTINGS, Records
from ditto.sinks.kafka.stored_state import OWNER, TOPICS, checkpoint_key, read_owner, read_state, read_topics
from ditto.sinks.kafka.topics import TopicAdmin, Topics

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.decoding.change import StoredObject
    from ditto.sinks.base import SinkState

_AT_ONCE: Final = 1000
_STEP_S: Final = 0.1
_FOLLOWING: Final = {"queued.max.messages.kbytes": 4096, "fetch.queue.backoff.ms": 100}
"""A live tail that nobody reads from keeps as much as this, in place of librdkafka's 64 MB: a server may have many."""


class KafkaReader:
    """A reader (see `base.Reader`). Which topics there are, a record in Ditto's own topic says."""

    kind = "topic"
    noun = "offset"

    def __init__(self, config: PipelineConfig) -> None:
        if config.kafka is None:
            raise RuntimeError("there is no section kafka")
        self._config = config.kafka
        self._topics = Topics(config.kafka, config.events.prefix, reads_only=True)
        self._descriptions = description_subjects(config.events.prefix)
        self._thread = IoThread("ditto-reader")
        self._admin: Admin | None = None
        self._records: Records | None = None
        self._consumers: list[Any] = []
        self._is_lost: SinkError | None = None

    @property
    def name(self) -> str:
        """By Ditto's own topic, which lists the others."""
        return f"topic {self._topics.own}"

    async def connect(self) -> None:
        """Raises what keeps it from that."""
        await self._thread.run(self._connect)

    def _connect(self) -> None:
        if self._admin is None:
            self._admin = Admin(self._config, self._topics.access)
            self._admin.metadata()
            self._records = Records(self._config, self._admin)

    async def close(self) -> None:
        """End the clients."""
        self._thread.run(self._release)
        self._thread.end()

    def _release(self) -> None:
        for consumer in self._consumers:
            consumer.close()
        if self._records is not None:
            self._records.close()

    def _ends(self) -> tuple[Admin, Records]:
        if self._admin is None or self._records is None:
            raise RuntimeError("connect() comes first")
        return self._admin, self._records

    async def look(self) -> Held:
        """By the record of the last transaction."""
        state = await self._thread.run(self._look)
        if state is None:
            return Held(exists=False)
        return Held(exists=True, tail=state.tail, tail_time=None if state.last is None else state.last.commit_time)

    def _look(self) -> SinkState | None:
        admin, records = self._ends()
        existing = set(admin.metadata("list the topics").topics)
        self._check_visible({self._topics.own, self._topics.checkpoints} - existing)
        if self._topics.own not in existing:
            return None
        owner, _ = self._own(records)
        if owner is None:
            return None
        if self._topics.checkpoints not in existing:
            return read_state(owner, None, self._topics.checkpoints)
        key, checkpoints = checkpoint_key(owner), self._topics.checkpoints
        record = records.last(checkpoints, lambda each: each.key() == key, *records.offsets(checkpoints))
        return read_state(owner, None if record is None else record.value(), checkpoints)

    def _check_visible(self, names: Collection[str]) -> None:
        """The broker does not list what this user may not see."""
        admin, _ = self._ends()
        TopicAdmin(admin, self._config, self._topics).check_visible(names, "read topics")

    def _own(self, records: Records) -> tuple[PipelineId | None, list[str]]:
        """Whose the topics are, and which."""
        own = self._topics.own
        start, end = records.offsets(own)
        newest = records.newest(own, end, start)
        return read_owner(newest.get(OWNER), own), read_topics(newest.get(TOPICS), own)

    # ------------------------------------------------------------------------------------ reading

    async def read(self) -> AsyncGenerator[Part]:
        """In the order of positions, up to that of the last transaction when it began."""
        state, merge = await self._thread.run(self._begin)
        parts = merge.parts()
        last = state.tail
        while (found := await self._thread.run(partial(next, parts, None))) is not None:
            yield Part([each for each in found if _is_before(each, last)], merge.done, merge.total)
        if last is not None and not last.ordinal:
            yield Part([ReadMessage(0, MessageKind.CHECKPOINT, b"", position=last)], merge.total, merge.total)

    def _begin(self) -> tuple[SinkState, Merge]:
        state = self._look()
        if state is None:
            raise self._missing()
        return state, Merge(self._consumer(), self._spans(), self._make, self._topics.access)

    def _missing(self) -> StreamNotFound:
        own = self._topics.own
        return StreamNotFound(f"there is no topic {own}", hint="has ditto run yet?", topic=own)

    def _spans(self) -> dict[Place, tuple[int, int]]:
        """First offset, and the one after the last, of every partition."""
        admin, records = self._ends()
        known = admin.metadata("list the topics").topics
        self._check_visible({self._topics.own} - known.keys())
        if self._topics.own not in known:
            raise self._missing()
        _, names = self._own(records)
        self._check_visible(set(names) - known.keys())
        places = [
            (name, number) for name in (self._topics.own, *names) if name in known for number in known[name].partitions
        ]
        return {place: records.offsets(*place) for place in places}

    def _consumer(self, **more: int) -> Any:
        given = {**settings(self._config), **READER_SETTINGS, **more, "error_cb": self._on_error}
        consumer = make(Consumer, given)
        self._consumers.append(consumer)
        return consumer

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._is_lost = translate(error, "read topics", self._topics.access, operation="Read")

    def _make(self, message: Message) -> ReadMessage | None:
        topic, key = message.topic() or "", message.key()
        given: Any = message.headers() or ()
        headers = {name: _text(value) for name, value in given}
        kind = MessageKind.EVENT
        route = topic
        if topic == self._topics.own:
            route = (key or b"").partition(b"@")[0].decode(errors="replace")
            if key in {OWNER, TOPICS} or not self._topics.is_own(route):
                return None
            kind = MessageKind.DESCRIPTION if route.startswith(self._descriptions) else MessageKind.CONTROL
        _, milliseconds = message.timestamp()
        return ReadMessage(
            message.offset() or 0,
            kind,
            message.value() or b"",
            route,
            headers,
            None if key is None or topic == self._topics.own else key.decode(errors="backslashreplace"),
            _position(headers.get(POSITION, "")),
            milliseconds / 1000,
        )

    # ------------------------------------------------------------------------------------ following

    async def follow(
        self, start: Start, *, is_endless: bool, on_lost: Callable[[SinkError], None]
    ) -> AsyncGenerator[Sequence[ReadMessage]]:
        """What there is in the order of positions; what comes later, transaction by transaction as it is seen."""
        await self.connect()
        spans = await self._thread.run(self._spans)
        parts = await self._thread.run(partial(self._first, spans, start, is_endless=is_endless))
        while (found := await self._thread.run(partial(next, parts, None))) is not None:
            yield found
        if not is_endless:
            return
        consumer = self._consumer(**_FOLLOWING)
        followed = {place: end for place, (_, end) in spans.items()}
        while True:
            new = await self._thread.run(partial(self._follow, consumer, followed))
            if new:
                yield new
            elif (error := self._is_lost) is not None:
                self._is_lost = None
                on_lost(error)
            await asyncio.sleep(0)

    def _first(
        self, spans: Mapping[Place, tuple[int, int]], start: Start, *, is_endless: bool
    ) -> Iterator[Sequence[ReadMessage]]:
        """What is there already and wanted."""
        if start.since is not None:
            since = self._since(spans, round(start.since.timestamp() * 1000))
            return Merge(self._consumer(), since, self._make, self._topics.access).parts()
        if start.last is not None:
            return iter([self._last(spans, start.last)])
        return iter([]) if is_endless else Merge(self._consumer(), spans, self._make, self._topics.access).parts()

    def _since(self, spans: Mapping[Place, tuple[int, int]], milliseconds: int) -> dict[Place, tuple[int, int]]:
        admin, _ = self._ends()
        asked = [TopicPartition(*place, milliseconds) for place in spans]
        found = self._consumer().offsets_for_times(asked, timeout=admin.timeout_s)
        starts = {(each.topic, each.partition): each.offset for each in found}
        return {place: (starts[place] if 0 <= starts[place] <= end else end, end) for place, (_, end) in spans.items()}

    def _last(self, spans: Mapping[Place, tuple[int, int]], count: int) -> list[ReadMessage]:
        """So many messages: a partition may hold all of them, and offsets are used by more than messages."""
        span = 2 * count + 16
        while True:
            some = {place: (max(start, end - span), end) for place, (start, end) in spans.items()}
            found = [
                each for part in Merge(self._consumer(), some, self._make, self._topics.access).parts() for each in part
            ]
            if len(found) >= count or all(some[place][0] == spans[place][0] for place in spans):
                return found[-count:] if count else []
            span *= 8

    def _follow(self, consumer: Any, followed: dict[Place, int]) -> list[ReadMessage]:
        """What has come; topics that are new are read from their beginning on."""
        if followed:
            consumer.incremental_assign([TopicPartition(*place, offset) for place, offset in followed.items()])
            followed.clear()
        found = []
        for message in consumer.consume(_AT_ONCE, _STEP_S):
            error = message.error()
            if error is not None:
                if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED}:
                    topic = message.topic() or ""
                    raise translate(error, f"read topic {topic}", self._topics.access, operation="Read", topic=topic)
                continue
            if message.topic() == self._topics.own and message.key() == TOPICS:
                self._find_new(consumer, read_topics(message.value(), self._topics.own), followed)
            made = self._make(message)
            if made is not None:
                found.append(made)
        return sorted(found, key=order)

    def _find_new(self, consumer: Any, names: Sequence[str], followed: dict[Place, int]) -> None:
        admin, _ = self._ends()
        known = admin.metadata("list the topics").topics
        assigned = {each.topic for each in consumer.assignment()}
        for name in names:
            if name in known and name not in assigned:
                followed |= {(name, number): 0 for number in known[name].partitions}

    async def read_object(self, stored: StoredObject) -> bytes | None:
        """There are none."""
        del stored
        return None


def _is_before(message: ReadMessage, last: Position | None) -> bool:
    return message.position is None or (last is not None and message.position <= last)


def _position(text: str) -> Position | None:
    try:
        return Position.parse(text)
    except ValueError:
        return None


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value or ""
