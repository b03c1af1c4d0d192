"""Puts the messages of many partitions in the order of their positions: each partition has them in that order.

Everything here may block.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from confluent_kafka import KafkaError, TopicPartition

from ditto.errors import AckTimeout
from ditto.lsn import ORIGIN, Position
from ditto.sinks.base import MessageKind, ReadMessage
from ditto.sinks.kafka.client_errors import translate
from ditto.sinks.kafka.records import IRRELEVANT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message

    from ditto.sinks.kafka.access import Access

Place: TypeAlias = tuple[str, int]
"""Topic and partition."""

_AT_ONCE: Final = 2000
_STEP_S: Final = 0.05
_MOST_AHEAD: Final = 10_000
"""Messages of a partition that wait for those of others."""
_TIMEOUT_S: Final = 30.0


def order(message: ReadMessage) -> tuple[Position, bool, str]:
    """A table's description has the position of the message before it."""
    return message.position or ORIGIN, message.kind is MessageKind.DESCRIPTION, message.route


class Merge:
    """Reads places from one offset to another. `make` gives None for what is not to be read."""

    def __init__(
        self,
        consumer: Any,
        spans: Mapping[Place, tuple[int, int]],
        make: Callable[[Message], ReadMessage | None],
        access: Access,
    ) -> None:
        self._consumer = consumer
        self._access = access
        self._make = make
        self._ends = {place: end for place, (start, end) in spans.items() if start < end}
        self._left = set(self._ends)
        self._waiting: dict[Place, deque[ReadMessage]] = {place: deque() for place in self._ends}
        self._paused: set[Place] = set()
        self.done = 0
        self.total = sum(end - start for start, end in spans.values())
        self._spans = spans

    def parts(self) -> Iterator[Sequence[ReadMessage]]:
        """All of them, some at a time."""
        if not self._ends:
            return
        self._consumer.assign([TopicPartition(*place, self._spans[place][0]) for place in self._ends])
        deadline = time.monotonic() + _TIMEOUT_S
        while self._left or any(self._waiting.values()):
            if self._poll():
                deadline = time.monotonic() + _TIMEOUT_S
            found = self._merged()
            if found:
                self.done = min(self.total, self.done + len(found))
                yield found
            elif time.monotonic() > deadline:
                place = min(self._left)
                raise AckTimeout(
                    f"topic {place[0]} could not be read to its end in time",
                    hint="is a transaction open there, or are the brokers busy?",
                    topic=place[0],
                )
        self.done = self.total

    def _poll(self) -> bool:
        """Whether anything came."""
        if not self._left:
            return False
        found = self._consumer.consume(_AT_ONCE, _STEP_S)
        for message in found:
            place, error = (message.topic(), message.partition()), message.error()
            if error is None:
                made = self._make(message) if message.offset() < self._ends[place] else None
                if made is not None:
                    self._waiting[place].append(made)
                reached = message.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                reached = message.offset()
            elif error.code() in IRRELEVANT:
                continue
            else:
                topic = str(place[0])
                raise translate(error, f"read topic {topic}", self._access, operation="Read", topic=topic)
            if reached >= self._ends[place]:
                self._left.discard(place)
        self._pause()
        return bool(found)

    def _pause(self) -> None:
        """Where much waits for others, no more is fetched."""
        full = {place for place in self._left if len(self._waiting[place]) >= _MOST_AHEAD}
        if more := full - self._paused:
            self._consumer.pause([TopicPartition(*place) for place in more])
        if less := self._paused - full:
            self._consumer.resume([TopicPartition(*place) for place in less & self._left])
        self._paused = full

    def _merged(self) -> list[ReadMessage]:
        """As many as are known to be next."""
        if any(not self._waiting[place] for place in self._left):
            return []
        heap = [(order(waiting[0]), place) for place, waiting in self._waiting.items() if waiting]
        heapq.heapify(heap)
        found: list[ReadMessage] = []
        while heap and len(found) < _AT_ONCE:
            _, place = heap[0]
            waiting = self._waiting[place]
            found.append(waiting.popleft())
            if waiting:
                heapq.heapreplace(heap, (order(waiting[0]), place))
            else:
                heapq.heappop(heap)
                if place in self._left:
                    break
        return found
