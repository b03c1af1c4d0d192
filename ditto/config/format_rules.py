"""What formats of events cannot be together with: keys that would say something for which a format has no place."""

from __future__ import annotations

from typing import Final

from ditto.config.events import Events, Types
from ditto.errors import ConfigError

DEBEZIUM: Final = "debezium"
"""How the names of both of Debezium's formats begin."""


def format_names(events: Events) -> set[str]:
    """The formats that tables may have."""
    return {events.format, *(rules.format for rules in events.rules.values() if rules.format is not None)}


def check_formats(events: Events) -> None:
    """Raise ConfigError where a format and another key contradict each other."""
    names = format_names(events)
    if all(name.startswith(DEBEZIUM) for name in names):
        _check_debezium(events)
    if "msgpack" in names:
        _check_msgpack(events.types)
    if events.group is not None:
        _check_group(events, names)
    if events.oversize != "stop" and (found := sorted(name for name in names if name.startswith(DEBEZIUM))):
        raise ConfigError(
            f"events.oversize: {events.oversize} is given, and tables have the format {found[0]}: its envelope cannot "
            "say that columns are left out",
            hint="leave events.oversize out, or take another format",
            key="events.oversize",
        )


def _check_debezium(events: Events) -> None:
    for key in ("metadata", "transactions"):
        if getattr(events, key):
            raise ConfigError(
                f"events.{key} is given, but every table has the format {events.format}, which has no place for it",
                hint=f"leave events.{key} out: the envelope's `source` has the LSN, the number of the change (in "
                "`sequence`) and the transaction's id",
                key=f"events.{key}",
            )
    if events.types != Types():
        raise ConfigError(
            f"events.types is given, but every table has the format {events.format}, whose values are Debezium's",
            hint="leave events.types out",
            key="events.types",
        )


def _check_msgpack(types: Types) -> None:
    wrong = {"numeric": "number", "json": "embed"}
    for option, value in wrong.items():
        if getattr(types, option) == value:
            raise ConfigError(
                f"events.types.{option}: {value} is for JSON: MessagePack has no number of as many digits",
                hint=f"leave events.types.{option} out: the format msgpack has these values as PostgreSQL's text",
                key=f"events.types.{option}",
            )


def _check_group(events: Events, names: set[str]) -> None:
    if any(name.startswith("cloudevents") for name in names):
        raise ConfigError(
            "events.group and the format cloudevents exclude each other: a CloudEvent is a message of its own",
            hint="leave events.group out, or take another format",
            key="events.group",
        )
    if "msgpack" not in names:
        return
    if len(names) > 1:
        raise ConfigError(
            "events.group is given, and tables have msgpack and other formats: a group has events of several tables",
            hint="give events.format: msgpack and no table another one, or leave events.group out",
            key="events.group",
        )
    if events.group is not None and events.group.layout == "lines":
        raise ConfigError(
            "events.group.layout: lines is for JSON: MessagePack has no lines",
            hint="leave events.group.layout out: a group is an array of MessagePack then",
            key="events.group.layout",
        )
