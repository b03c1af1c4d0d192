"""Keys that contradict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.config import kafka, nats, rabbitmq, redis, webhook
from ditto.config.format_rules import check_formats
from ditto.config.message_rules import check_messages_together
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from ditto.config.model import Config


def check_together(config: Config) -> None:
    """Raise ConfigError where keys contradict each other."""
    _check_group(config)
    if config.events.oversize == "object_store" and config.sink != "nats":
        raise ConfigError(
            "events.oversize: object_store is given for a file, which takes events of any size"
            if config.sink == "file"
            else f"events.oversize: object_store is given for {config.sink}, which has no object store",
            hint="leave events.oversize out",
            key="events.oversize",
        )
    check_formats(config.events)
    for found in (
        nats.contradiction(config.nats),
        None if config.kafka is None else kafka.contradiction(config.kafka),
        None if config.rabbitmq is None else rabbitmq.contradiction(config.rabbitmq),
        None if config.redis is None else redis.contradiction(config.redis),
        None if config.webhook is None else webhook.contradiction(config.webhook),
    ):
        if found is not None:
            key, sentence, hint = found
            raise ConfigError(sentence, hint=hint, key=key)
    check_messages_together(config.events)


def _check_group(config: Config) -> None:
    """The events of a group share one subject and one message."""
    events = config.events
    if events.group is None:
        return
    if config.sink in {"file", "webhook"}:
        raise ConfigError(
            "events.group is given for a file, which has each event in a line of its own"
            if config.sink == "file"
            else "events.group is given for a webhook, whose requests have many events each",
            hint="leave events.group out",
            key="events.group",
        )
    if events.topics:
        raise ConfigError(
            "events.group and events.topics exclude each other: a group has events of several tables, and one subject",
            hint="leave events.topics out; events.group.subject names the subject of all groups",
            key="events.topics",
        )
    for table, rules in events.rules.items():
        given = [name for name in ("subject", "headers", "key") if getattr(rules, name)]
        if given:
            path = f"events.tables.{table}.{given[0]}"
            raise ConfigError(
                f"events.group and {path} exclude each other: the events of a group share one subject and its headers",
                hint=f"leave {path} out, or events.group",
                key=path,
            )
