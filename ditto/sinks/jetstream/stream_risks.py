"""What a stream's settings, as the server has them, make of Ditto's promises."""

from __future__ import annotations

from typing import Final, NamedTuple

from ditto.errors import StreamUnusable
from ditto.hints import RELOAD
from ditto.sinks.jetstream.api_answers import StreamConfig

_DAY_NS: Final = 24 * 3600 * 10**9


class Risk(NamedTuple):
    """A setting that can lose events: its name, what it is, and what follows."""

    setting: str
    what: str
    why: str


def check_usable(name: str, config: StreamConfig) -> None:
    """Raise StreamUnusable for settings that cannot work."""
    for is_so, why in (
        (config.sealed, "it is sealed"),
        (config.mirror is not None, "it is a mirror"),
        (config.no_ack, "it does not acknowledge (no_ack)"),
    ):
        if is_so:
            raise StreamUnusable(
                f"stream {name} cannot be used: {why}",
                hint="choose another nats.stream and events.prefix, as this one keeps its subjects; where Ditto has "
                f"stored into it before, {RELOAD}",
            )


def risks(config: StreamConfig) -> list[Risk]:
    """What in the stream's settings can lose events, and why."""
    found = []
    if config.storage == "memory":
        found.append(Risk("storage", "storage is memory", "a restart of the server loses every event"))
    if config.persist_mode == "async":
        found.append(Risk("persist_mode", "persist_mode is async", "acknowledged events may not be on disk"))
    if config.retention != "limits":
        found.append(
            Risk(
                "retention",
                f"retention is {config.retention}",
                "consumers delete what they have read: nobody can read it again",
            )
        )
    limits = [key for key in ("max_msgs", "max_bytes") if getattr(config, key) > 0]
    if limits and config.discard == "old":
        found.append(
            Risk(
                "discard",
                f"discard is old with {' and '.join(limits)} set",
                "unread events are dropped without a word when the limit is reached; discard: new makes Ditto "
                "wait instead",
            )
        )
    if config.max_age:
        found.append(
            Risk(
                "max_age",
                "max_age is set" + (", and shorter than a day" if config.max_age < _DAY_NS else ""),
                "it drops events, read or not",
            )
        )
    if config.max_msgs_per_subject > 0:
        found.append(Risk("max_msgs_per_subject", "max_msgs_per_subject is set", "it drops a table's earlier events"))
    if config.subject_delete_marker_ttl:
        found.append(
            Risk(
                "subject_delete_marker_ttl",
                "subject_delete_marker_ttl is set",
                "nats-server stores messages of its own (delete markers) between the events: each ends a session, and "
                "consumers get messages that are no events",
            )
        )
    elif config.allow_msg_ttl:
        found.append(
            Risk(
                "allow_msg_ttl",
                "allow_msg_ttl is set",
                "a message with the header Nats-TTL is deleted, read or not; Ditto sets none",
            )
        )
    if config.sources:
        found.append(
            Risk(
                "sources",
                "it has sources",
                "nats-server copies other streams' messages between the events: each ends a session, and Ditto has to "
                "be the only writer",
            )
        )
    return found


def may_lose_tail(config: StreamConfig) -> bool:
    """Whether the last message may be deleted as time goes by: by its age, or because consumers have read it."""
    return bool(config.max_age) or config.retention != "limits"
