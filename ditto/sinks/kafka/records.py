"""Reads partitions back, `read_committed`: all of one, or from its end on. Everything here may block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from ditto.errors import AckTimeout, NotNow
from ditto.sinks.kafka.client import make, settings
from ditto.sinks.kafka.client_errors import error_of, translate

if TYPE_CHECKING:
    from ditto.config import Kafka
    from ditto.sinks.kafka.client import Admin

_AT_ONCE: Final = 1000
_STEP_S: Final = 0.02
_PAUSE_S: Final = 0.05
_FIRST_SPAN: Final = 256
"""Offsets that are looked at first, from the end back."""
IRRELEVANT: Final = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError.GROUP_AUTHORIZATION_FAILED}
)
"""A consumer connects again by itself, and its deadline ends that. No group is joined: nobody needs a right to it."""

READER_SETTINGS: Final = {
    "group.id": "ditto",  # no group is joined, and no offset committed
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 20,  # the end of a partition is told by the answer that has nothing
    "check.crcs": True,
}


class Records:
    """Reads one partition at a time.

    Each topic has a consumer of its own: one that has read another topic looks for its leader only once a second.
    """

    def __init__(self, config: Kafka, admin: Admin) -> None:
        self._admin = admin
        self._timeout_s = admin.timeout_s
        self._settings = {**settings(config), **READER_SETTINGS}
        self._consumers: dict[tuple[str, bool], Any] = {}

    def close(self) -> None:
        """End the consumers."""
        for consumer in self._consumers.values():
            consumer.close()

    def offsets(self, topic: str, partition: int = 0, *, is_committed: bool = True) -> tuple[int, int]:
        """The first offset, and the one after the last that can be read now.

        Not `is_committed`: after the last, whatever becomes of its transaction.
        """
        place = TopicPartition(topic, partition)
        level = IsolationLevel.READ_COMMITTED if is_committed else IsolationLevel.READ_UNCOMMITTED
        return self._offset(place, OffsetSpec.earliest(), level), self._offset(place, OffsetSpec.latest(), level)

    def _offset(self, place: TopicPartition, spec: OffsetSpec, level: IsolationLevel) -> int:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                futures = self._admin.client.list_offsets(
                    {place: spec}, isolation_level=level, request_timeout=self._timeout_s
                )
                found: int = futures[place].result().offset
            except KafkaException as exception:
                error = self._admin.failed(
                    error_of(exception), f"look up the end of topic {place.topic}", topic=place.topic
                )
                # A leader that is being chosen, or has moved since the brokers were asked.
                if not isinstance(error, NotNow) or time.monotonic() > deadline:
                    raise error from None
                time.sleep(_PAUSE_S)
                self._admin.metadata("list the topics")
            else:
                return found

    def read(self, topic: str, partition: int, start: int, end: int, *, is_committed: bool = True) -> Iterator[Message]:
        """Messages from `start` on, before `end`. Where they are to be committed, every transaction is waited for.

        Raises NotNow where one stays open.
        """
        if start >= end:
            return
        consumer = self._consumers.get((topic, is_committed))
        if consumer is None:
            level = "read_committed" if is_committed else "read_uncommitted"
            consumer = make(Consumer, {**self._settings, "isolation.level": level})
            self._consumers[topic, is_committed] = consumer
        consumer.assign([TopicPartition(topic, partition, start)])
        deadline = time.monotonic() + self._timeout_s
        reached = start
        while True:
            for message in consumer.consume(_AT_ONCE, _STEP_S):
                error, offset = message.error(), message.offset() or 0
                if error is None:
                    if offset < end:
                        yield message
                    reached = offset + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    reached = max(reached, offset)
                elif error.code() not in IRRELEVANT:
                    raise translate(error, f"read topic {topic}", self._admin.access, operation="Read", topic=topic)
                else:
                    continue
                deadline = max(deadline, time.monotonic() + self._timeout_s / 2) if error is None else deadline
            if reached >= end:
                return
            if time.monotonic() > deadline:
                self._raise_late(topic, reached)

    def _raise_late(self, topic: str, reached: int) -> None:
        _, committed = self.offsets(topic)
        if committed <= reached:
            raise NotNow(
                f"topic {topic} has a transaction that has not ended, of another pipeline or program",
                hint="it ends by itself, at the latest when the broker aborts it; or give this pipeline a topic of its "
                "own in kafka.checkpoint_topic",
                topic=topic,
            )
        raise AckTimeout(f"topic {topic} could not be read in time", hint="look at the brokers' load", topic=topic)

    def last(self, topic: str, wanted: Callable[[Message], bool], start: int, end: int) -> Message | None:
        """The last one before `end` that is wanted; the first partition alone is looked at."""
        span, before = _FIRST_SPAN, end
        while before > start:
            first = max(start, before - span)
            found = None
            for message in self.read(topic, 0, first, before):
                if wanted(message):
                    found = message
            if found is not None:
                return found
            span, before = 4 * span, first
        return None

    def pending(self, topic: str, wanted: Callable[[Message], bool], start: int) -> Message | None:
        """The last one that is wanted among those from `start` on whose transactions may not have ended."""
        found = None
        for message in self.read(topic, 0, start, self.offsets(topic, is_committed=False)[1], is_committed=False):
            if wanted(message):
                found = message
        return found

    def newest(self, topic: str, end: int, start: int) -> dict[bytes, bytes | None]:
        """By key, the newest value of the whole partition 0."""
        return {message.key() or b"": message.value() for message in self.read(topic, 0, start, end)}
