"""Impossible entries of `events.messages`, and an impossible `events.outbox`."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ditto.config.events import MessageRules
from ditto.config.impossible import Impossible
from ditto.config.table_rules import REGEX, check_former
from ditto.config.template_syntax import Template, TemplateError, Value, is_subject, parse_template
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ditto.config.events import Events

MESSAGE_NAMES: Final = ("prefix", "database", "message.prefix")
"""Placeholders of the subjects of logical messages."""
OUTBOX_NAMES: Final = ("prefix", "database")
"""Those of an outbox, besides the columns."""

OWN: Final = ("ditto.", "traceparent")
"""How the prefixes begin by which logical messages tell Ditto something."""

_GLOB: Final = re.compile(r"[*?\[]")
_SYSTEM: Final = re.compile(r"\$|_INBOX(\.|$)")


def is_glob(prefix: str) -> bool:
    """Whether a key of `events.messages` is a pattern."""
    return _GLOB.search(prefix) is not None


def message_template(text: str) -> Template:
    """The parts of `events.messages.KEY.subject`. Raises TemplateError."""
    return parse_template(text, MESSAGE_NAMES, has_data=False)


def outbox_template(text: str) -> Template:
    """The parts of `events.outbox.subject`. Raises TemplateError."""
    return parse_template(text, OUTBOX_NAMES, has_data=True)


def check_messages(value: dict[str, str | MessageRules]) -> dict[str, str | MessageRules]:
    """Raises Impossible, whose place is what is wrong."""
    for prefix, entry in value.items():
        place = f"events.messages.{prefix}"
        if not prefix:
            raise Impossible("has an empty prefix")
        if prefix.startswith(REGEX):
            raise Impossible(
                "looks like a regular expression: a key is the prefix of messages, or a glob of it",
                place=place,
                hint=f"as in orders.*; a prefix that begins so is written [r]{prefix[1:]}",
            )
        if prefix.startswith(OWN):
            raise Impossible(
                "is one of the prefixes by which messages tell Ditto something", place=place, hint="use another prefix"
            )
        if isinstance(entry, str):
            _check_subject(entry, place, message_template)
        else:
            _check_subject(entry.subject, f"{place}.subject", message_template)
    return value


def check_table(value: str) -> str:
    """`events.outbox.table`. Raises Impossible."""
    schema, dot, name = value.partition(".")
    if not (schema and dot and name):
        raise Impossible("must be one table with its schema, such as public.outbox")
    return value


def check_outbox_subject(value: str) -> str:
    """`events.outbox.subject`. Raises Impossible."""
    template = _check_subject(value, "events.outbox.subject", outbox_template)
    values = [at for at, part in enumerate(template) if isinstance(part, Value)]
    for before, after in pairwise(values):
        between = template[before + 1] if after == before + 2 else ""
        if not isinstance(between, str) or "." not in between:
            raise Impossible("must have a dot between two columns: 1 and 23 would look like 12 and 3")
    return value


def check_outbox_former(value: dict[str, list[str]]) -> dict[str, list[str]]:
    """`events.outbox.former`. Raises Impossible."""
    check_former(value, "events.outbox.former")
    return value


def check_column(value: str | None) -> str | None:
    """`events.outbox.payload`, `id`, `key` and `headers`. Raises Impossible."""
    if value is not None and not value:
        raise Impossible("must name a column")
    return value


def check_messages_together(events: Events) -> None:
    """Raise ConfigError where keys contradict each other."""
    if events.group is not None and events.outbox is not None and events.outbox.subject == events.group.subject:
        raise ConfigError(
            "events.outbox and events.group have the same subject: a group is an array of events, and no message",
            hint="give one of them another subject",
            key="events.outbox.subject",
        )
    if events.outbox is None or events.tables is None:
        return
    if (table := events.outbox.table) in events.tables:
        raise ConfigError(
            f"events.tables and events.outbox both say what becomes of table {table}",
            hint=f"leave it out of events.tables: the rows of {table} are messages, and nothing else",
            key="events.outbox.table",
        )


def _check_subject(text: str, place: str, parse: Callable[[str], Template]) -> Template:
    try:
        template = parse(text)
    except TemplateError as error:
        raise Impossible(str(error), place=place, hint=error.hint) from None
    sample = "".join(part if isinstance(part, str) else "x" for part in template)
    if not is_subject(sample):
        raise Impossible("must give a NATS subject: no white space, no * or >, no empty part between dots", place=place)
    if _SYSTEM.match(sample):
        raise Impossible("must not begin with $ or _INBOX, which nats-server uses itself", place=place)
    return template
