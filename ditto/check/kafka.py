"""Kafka: the brokers, the topics that Ditto needs, their settings, and how far it is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ditto.check.finding import Finding, bad, failed, named, ok
from ditto.check.place import compare_sink
from ditto.errors import DittoError, SinkDenied
from ditto.routing.router import Router
from ditto.sinks.kafka.access import OPERATOR
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
        admin = await asyncio.to_thread(Admin, config.kafka, Topics(config.kafka, config.events.prefix).access)
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
    may_look = not any(each.check == "kafka.permissions" and each.level == "error" for each in found)
    if not is_running and may_look:
        found += await compare_sink(config, source, KafkaSink(config, clock=time.monotonic))


def _check_topics(config: Config, kafka: Kafka, source: Source | None, admin: Admin, brokers: int) -> list[Finding]:
    topics = Topics(kafka, config.events.prefix)
    needed = {topics.own, topics.checkpoints}
    router = Router(config.events, database=source.database if source else "")
    for table in source.tables if source else ():
        needed |= topics.add(router.routes(*table).names)
    control = TopicAdmin(admin, kafka, topics)
    existing = control.existing()
    missing = needed - existing
    hidden = control.hidden(missing)
    refusals = control.refusals(sorted(missing)) if control.creates else {}
    found = [_existence(kafka, control, missing, len(needed), hidden)]
    found += [failed("kafka.topics", error) for error in refusals.values() if not isinstance(error, SinkDenied)][:1]
    forbidden = [name for name, error in refusals.items() if isinstance(error, SinkDenied)]
    if hidden or not missing or kafka.topics.create:
        found.append(_permissions(control, topics, sorted(needed & existing), sorted(missing), hidden, forbidden))
    settings = control.settings(needed & existing)
    found += [
        _compaction(control, name, settings.get(name, {}))
        for name in (topics.checkpoints, topics.own)
        if name in existing
    ]
    found += _copies(admin, needed & existing, brokers)
    return found


def _existence(kafka: Kafka, control: TopicAdmin, missing: set[str], count: int, hidden: list[str]) -> Finding:
    check, why = "kafka.topics", "each table's events have a topic, and Ditto has two of its own"
    if not missing:
        return ok(check, f"all {count} topics exist", why)
    names = sorted(missing)
    if kafka.topics.create:
        return ok(check, f"ditto run will create {named(names)}", why)
    what = f"missing{' or hidden' if hidden else ''}, and kafka.topics.create is false: {named(names)}"
    why += "; those that exist stay as they are" if hidden else ""
    return bad("error", check, what, f"{why}. Enter this {OPERATOR}", command=control.creation(names))


def _permissions(
    control: TopicAdmin,
    topics: Topics,
    existing: list[str],
    missing: list[str],
    hidden: list[str],
    forbidden: list[str],
) -> Finding:
    """By what the broker says of topics that exist, and by whether it would create the others."""
    check, why = "kafka.permissions", "Ditto creates topics, writes to them, and reads its own when it starts"
    allowed = control.allowed(existing)
    lacking = {"Describe": hidden, "Create": forbidden}
    for operation, names in (("Write", existing), ("Read", [topics.own, topics.checkpoints])):
        lacking[operation] = [
            name for name in names if (rights := allowed.get(name)) is not None and operation.upper() not in rights
        ]
    access = topics.access
    if any(lacking.values()):
        each = [f"{operation} for {named(names)}" for operation, names in lacking.items() if names]
        what = f"{access.principal} has no permission {'; '.join(each)}"
        all_names = {name for names in lacking.values() for name in names}
        return bad("error", check, what, f"{why}. Enter this {access.note}", command=access.topics_command(all_names))
    unseen = [f"Write for {named(missing)}"] if missing else []
    unseen += [f"topics {named(found)}"] if (found := [name for name in existing if allowed[name] is None]) else []
    later = ", ".join([*unseen, "Write for the transactional id"])
    return ok(check, f"nothing is missing that can be seen now; ditto run sees when it starts: {later}", why)


def _compaction(control: TopicAdmin, name: str, settings: Mapping[str, str]) -> Finding:
    check, why = "kafka.compaction", "the newest record of each key has to stay, for as long as the slot does"
    policy = settings.get("cleanup.policy")
    if policy is None:
        return ok(check, f"the settings of topic {name} cannot be looked at (no right to describe them)", why)
    if policy == "compact":
        return ok(check, f"topic {name} is compacted", why)
    what = f"topic {name} has cleanup.policy {policy}"
    return bad("error", check, what, f"{why}. Enter this {OPERATOR}", command=control.compaction(name))


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
