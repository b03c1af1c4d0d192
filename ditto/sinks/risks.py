"""What a stream's settings, as the server has them, make of Ditto's promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ditto.errors import StreamUnusable

_DAY_NS: Final = 24 * 3600 * 10**9


class Risk(NamedTuple):
    """A setting that can lose events: its name, what it is, and what follows."""

    setting: str
    what: str
    why: str


def check_usable(name: str, settings: Mapping[str, Any]) -> None:
    """Raise StreamUnusable for settings that cannot work."""
    for key, why in (
        ("sealed", "it is sealed"),
        ("mirror", "it is a mirror"),
        ("no_ack", "it does not acknowledge (no_ack)"),
    ):
        if settings.get(key):
            raise StreamUnusable(f"stream {name} cannot be used: {why}", hint="choose another nats.stream")


def risks(settings: Mapping[str, Any]) -> list[Risk]:
    """What in the stream's settings can lose events, and why."""
    found = []
    if settings.get("storage") == "memory":
        found.append(Risk("storage", "storage is memory", "a restart of the server loses every event"))
    if settings.get("persist_mode") == "async":
        found.append(Risk("persist_mode", "persist_mode is async", "acknowledged events may not be on disk"))
    if settings.get("retention", "limits") != "limits":
        found.append(
            Risk(
                "retention",
                f"retention is {settings['retention']}",
                "consumers delete messages, the last one included, and Ditto resumes from the last one",
            )
        )
    limits = [key for key in ("max_msgs", "max_bytes") if settings.get(key, -1) > 0]
    if limits and settings.get("discard", "old") == "old":
        found.append(
            Risk(
                "discard",
                f"discard is old with {' and '.join(limits)} set",
                "unread events are dropped without a word when the limit is reached; discard: new makes Ditto "
                "wait instead",
            )
        )
    age = settings.get("max_age", 0)
    if age:
        found.append(
            Risk(
                "max_age",
                "max_age is set" + (", and shorter than a day" if age < _DAY_NS else ""),
                "it drops unread events, and after a quiet time the last one, from which Ditto resumes",
            )
        )
    if settings.get("max_msgs_per_subject", -1) > 0:
        found.append(Risk("max_msgs_per_subject", "max_msgs_per_subject is set", "it drops a table's earlier events"))
    return found
