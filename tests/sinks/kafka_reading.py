"""What a consumer of Kafka sees that reads committed messages: for tests, apart from Ditto's own reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from confluent_kafka import OFFSET_END, Consumer, IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

_TIMEOUT_S: Final = 150.0


class Consumed(NamedTuple):
    """A message."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: dict[str, str]


def topics(brokers: str) -> set[str]:
    """Those that are not Kafka's own."""
    found = AdminClient({"bootstrap.servers": brokers}).list_topics(timeout=_TIMEOUT_S).topics
    return {name for name in found if not name.startswith("__")}


def consume(
    brokers: str,
    wanted: Iterable[str] | None = None,
    *,
    isolation: str = "read_committed",
    after: Mapping[tuple[str, int], int] = MappingProxyType({}),
) -> list[Consumed]:
    """All that can be read now of these topics, partition by partition; absent: of all topics.

    `after` has the offset to begin at, by topic and partition.
    """
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    known = admin.list_topics(timeout=_TIMEOUT_S).topics
    names = [name for name in (known if wanted is None else wanted) if name in known and not name.startswith("__")]
    places = [TopicPartition(name, number) for name in names for number in known[name].partitions]
    if not places:
        return []
    level = IsolationLevel.READ_COMMITTED if isolation == "read_committed" else IsolationLevel.READ_UNCOMMITTED
    if level is IsolationLevel.READ_COMMITTED:
        _wait_for_ends(admin, places)
    futures = admin.list_offsets({place: OffsetSpec.latest() for place in places}, isolation_level=level)
    ends = {(place.topic, place.partition): future.result().offset for place, future in futures.items()}
    consumer: Any = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "tests",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
    left = {place for place, end in ends.items() if end > after.get(place, 0)}
    found: list[Consumed] = []
    deadline = time.monotonic() + _TIMEOUT_S
    try:
        consumer.assign([TopicPartition(*place, after.get(place, 0)) for place in left])
        while left:
            assert time.monotonic() < deadline, f"{sorted(left)} could not be read to the end"
            for message in consumer.consume(10_000, 0.02):
                place = (message.topic(), message.partition())
                error = message.error()
                if error is None:
                    headers = {name: (value or b"").decode() for name, value in message.headers() or []}
                    found.append(Consumed(*place, message.offset(), message.key(), message.value() or b"", headers))
                    if message.offset() + 1 >= ends[place]:
                        left.discard(place)
                elif error.code() == KafkaError._PARTITION_EOF:
                    if message.offset() >= ends[place]:
                        left.discard(place)
                else:
                    raise AssertionError(error.str())
    finally:
        consumer.close()
    return sorted(found, key=lambda each: each[:3])


def _wait_for_ends(admin: AdminClient, places: list[TopicPartition]) -> None:
    """What is committed can be read some milliseconds later; of what is not committed nobody knows when it ends."""
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        found = [
            {
                place: future.result().offset
                for place, future in admin.list_offsets(asked, isolation_level=level).items()
            }
            for level in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED)
            for asked in [{place: OffsetSpec.latest() for place in places}]
        ]
        if all(found[1][place] >= end for place, end in found[0].items()):
            return
        time.sleep(0.01)


def delete_topics(brokers: str, is_wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Delete them, and wait until they are gone."""
    names: Collection[str] = [name for name in topics(brokers) if is_wanted(name)]
    if not names:
        return
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    for future in admin.delete_topics(list(names)).values():
        future.result()
    deadline = time.monotonic() + _TIMEOUT_S
    while topics(brokers) & set(names):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def expire(brokers: str, is_wanted: Callable[[str], bool]) -> None:
    """Remove all records of these topics, as retention does: their offsets go on."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    found = admin.list_topics(timeout=_TIMEOUT_S).topics
    names = {name: found[name].partitions for name in found if is_wanted(name)}
    places = [TopicPartition(name, number, OFFSET_END) for name, numbers in names.items() for number in numbers]
    for future in admin.delete_records(places).values():
        future.result()
