"""Kafka: the brokers, the topics that Ditto needs, their settings, and how far it is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ditto.check.finding import Finding, bad, failed, named, ok
from ditto.check.place import compare_sink
from ditto.errors import DittoError
from ditto.routing.router import Router
from ditto.sinks.kafka.client import Admin
from ditto.sinks.kafka.sink import KafkaSink
from ditto.sinks.kafka.topics import TopicAdmin, Topics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ditto.check.source import Source
    from ditto.config import Config, Kafka


async def check_kafka(
    config: Config, source: Source | None, found: list[Finding], monitor_url: str | None, *, is_running: bool
) -> None:
    """See `check.choose`."""
    del monitor_url
    if config.kafka is None:
        raise RuntimeError("there is no section kafka")
    check, why = "kafka.connection", "events are published to topics of Kafka, in transactions"
    try:
        admin = await asyncio.to_thread(Admin, config.kafka)
        metadata = await asyncio.to_thread(admin.metadata)
    except DittoError as error:
        found.append(failed(check, error))
        return
    count = len(metadata.brokers)
    found.append(ok(check, f"connected: {count} broker{'s' if count > 1 else ''}", why))
    try:
        found += await asyncio.to_thread(_check_topics, config, config.kafka, source, admin, count)
    except DittoError as error:
        found.append(failed("kafka.topics", error))
        return
    if not is_running:
        found += await compare_sink(config, source, KafkaSink(config, clock=time.monotonic))


def _check_topics(config: Config, kafka: Kafka, source: Source | None, admin: Admin, brokers: int) -> list[Finding]:
    topics = Topics(kafka, config.events.prefix)
    needed = {topics.own, topics.checkpoints}
    router = Router(config.events, database=source.database if source else "")
    for table in source.tables if source else ():
        needed |= topics.add(router.routes(*table).names)
    control = TopicAdmin(admin, kafka, topics)
    existing = control.existing()
    found = [_existence(kafka, topics, needed - existing, len(needed))]
    settings = control.settings(needed & existing)
    found += [
        _compaction(name, settings.get(name, {})) for name in (topics.checkpoints, topics.own) if name in existing
    ]
    found += _copies(admin, needed & existing, brokers)
    return found


def _existence(kafka: Kafka, topics: Topics, missing: set[str], count: int) -> Finding:
    check, why = "kafka.topics", "each table's events have a topic, and Ditto has two of its own"
    if not missing:
        return ok(check, f"all {count} topics exist", why)
    names = sorted(missing)
    if kafka.topics.create:
        return ok(check, f"ditto run will create {named(names)}", why)
    first = names[0]
    options = " --partitions 1 --config cleanup.policy=compact" if first in {topics.own, topics.checkpoints} else ""
    command = f"kafka-topics.sh --bootstrap-server {kafka.servers[0]} --create --topic {first}{options}"
    return bad("error", check, f"missing, and kafka.topics.create is false: {named(names)}", why, command=command)


def _compaction(name: str, settings: Mapping[str, str]) -> Finding:
    check, why = "kafka.compaction", "the newest record of each key has to stay, for as long as the slot does"
    policy = settings.get("cleanup.policy")
    if policy is None:
        return ok(check, f"the settings of topic {name} cannot be looked at (no right to describe them)", why)
    if policy == "compact":
        return ok(check, f"topic {name} is compacted", why)
    command = f"kafka-configs.sh --alter --topic {name} --add-config cleanup.policy=compact"
    return bad("error", check, f"topic {name} has cleanup.policy {policy}", why, command=command)


def _copies(admin: Admin, names: set[str], brokers: int) -> list[Finding]:
    check, why = (
        "kafka.replicas",
        "the only copy is gone when its machine is, and with it events that PostgreSQL has given up",
    )
    if not names:
        return []
    topics = admin.metadata("list the topics").topics
    single = sorted(
        name for name in names if any(len(partition.replicas) < 2 for partition in topics[name].partitions.values())
    )
    if not single:
        return [ok(check, "every topic has 2 replicas or more", why)]
    if brokers == 1:
        return [ok(check, "1 replica: there is one broker", why)]
    return [bad("warning", check, f"1 replica: {named(single)}", f"{why}; kafka-reassign-partitions.sh adds replicas")]
