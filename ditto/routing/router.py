"""Which of a table's changes pass, and to which subject, as the configuration says."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import Final

from ditto.config import ACTIONS, READ, Events
from ditto.errors import SubjectCollision
from ditto.routing.patterns import Patterns
from ditto.routing.table_plans import Routes

CHECKPOINT: Final = "_checkpoint"
SCHEMA: Final = "_schema"
SNAPSHOT: Final = "_snapshot"

MANY: Final = 300
"""Subjects of a stream. nats-server compares each with each whenever one is added: 40 ms for 1,000, 4 s for 10,000."""

_TABLES: Final = re.compile(r"\{(schema|table|action)\}")
_MAPPED: Final = ("", "")
_CHECKPOINT_OWNER: Final = ("", CHECKPOINT)
_CHECKPOINTS: Final = "Ditto's checkpoints"

# What a token of a subject cannot hold, and % itself, so that encoding is one to one:
# https://docs.nats.io/nats-concepts/subjects#characters-allowed-and-recommended-for-subject-names
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f.*>%]")


def encode_token(name: str) -> str:
    """`name` as part of a subject's token: what NATS does not allow there is percent-encoded."""
    return _FORBIDDEN.sub(lambda match: f"%{ord(match[0]):02X}", name)


def checkpoint_subject(prefix: str) -> str:
    """Where checkpoints go."""
    return f"{prefix}.{CHECKPOINT}"


def description_subjects(prefix: str) -> str:
    """The beginning of the subjects of tables' descriptions."""
    return f"{prefix}.{SCHEMA}."


def snapshot_subjects(prefix: str) -> str:
    """The beginning of the subjects of snapshots' control events."""
    return f"{prefix}.{SNAPSHOT}."


def control_subjects(prefix: str) -> str:
    """The one that covers the subjects of all control events."""
    return f"{snapshot_subjects(prefix)}>"


class Router:
    """Gives each table its routes, which are subjects, and sees that no two tables share one by accident."""

    def __init__(self, config: Events, *, database: str) -> None:
        self._prefix = config.prefix
        self._template = config.subject
        self._database = encode_token(database)
        self._tables: Patterns[Sequence[str]] | None = None if config.selection is None else Patterns(config.selection)
        self._topics: Patterns[str] = Patterns(config.topics)
        # Only the newest checkpoint is kept: an event on its subject would be deleted by the next one.
        self._owners: dict[str, tuple[str, str]] = {self.checkpoint_subject: _CHECKPOINT_OWNER}
        self._reserved = {
            description_subjects(config.prefix): "Ditto's descriptions of tables",
            snapshot_subjects(config.prefix): "the control events of snapshots",
        }
        self.group_route = None if config.group is None else self._group_route(config.group.subject)
        """Where all events go in groups; None where each is a message."""

    def _group_route(self, template: str) -> bytes:
        subject = template.format(prefix=self._prefix, database=self._database)
        reserved = {self.checkpoint_subject: _CHECKPOINTS, **self._reserved}
        for beginning, others in reserved.items():
            if subject == self.checkpoint_subject or (beginning.endswith(".") and subject.startswith(beginning)):
                raise SubjectCollision(
                    f"events.group.subject gives {subject}, which belongs to {others}",
                    hint="give groups another subject, such as {prefix}.transactions",
                )
        return subject.encode()

    @property
    def checkpoint_subject(self) -> str:
        """Where checkpoints go."""
        return checkpoint_subject(self._prefix)

    @property
    def wildcard(self) -> str | None:
        """The one subject that covers all of the template's, or None where each table needs its own."""
        return f"{self._prefix}.>" if self._template.startswith("{prefix}.") else None

    def folded(self, subjects: set[str]) -> set[str]:
        """What the stream has to take for these subjects: where there are many, one for all that the template makes.

        Only what begins with tokens that are the same for every table can be covered so.
        """
        fixed = list(takewhile(lambda token: not _TABLES.search(token), self._template.split(".")))
        if len(subjects) <= MANY or not fixed:
            return subjects
        tokens = ".".join(fixed).format(prefix=self._prefix, database=self._database)
        inside = {subject for subject in subjects if subject.startswith(f"{tokens}.")}
        return (subjects - inside) | {f"{tokens}.>"} if inside else subjects

    def routes(self, namespace: str, name: str) -> Routes:
        """The routes of a table. Raises SubjectCollision."""
        group = self.group_route
        actions: Sequence[str] = ACTIONS
        if self._tables is not None:
            actions = self._tables.find(namespace, name) or ()
        insert, update, delete, truncate = (
            (group or self._subject(namespace, name, action).encode()) if action in actions else None
            for action in ACTIONS
        )
        is_read = insert is not None or update is not None
        read = (group or self._subject(namespace, name, READ).encode()) if is_read else None
        return Routes(insert, update, delete, truncate, read)

    def forget(self, tables: Collection[tuple[str, str]]) -> None:
        """These have been dropped: another table may have their subjects."""
        self._owners = {subject: owner for subject, owner in self._owners.items() if owner not in tables}

    def _subject(self, namespace: str, name: str, action: str) -> str:
        topic = self._topics.find(namespace, name)
        if topic is not None:
            self._check_reserved(namespace, name, topic)
            owner = self._owners.setdefault(topic, _MAPPED)
            if owner == _CHECKPOINT_OWNER:
                raise _collision(namespace, name, topic, _CHECKPOINTS)
            return topic
        subject = self._template.format(
            prefix=self._prefix,
            schema=encode_token(namespace),
            table=encode_token(name),
            action=action,
            database=self._database,
        )
        self._check_reserved(namespace, name, subject)
        owner = self._owners.setdefault(subject, (namespace, name))
        if owner == _CHECKPOINT_OWNER:
            raise _collision(namespace, name, subject, _CHECKPOINTS)
        if owner not in {(namespace, name), _MAPPED}:
            raise SubjectCollision(
                f"tables {owner[0]}.{owner[1]} and {namespace}.{name} would share the subject {subject}",
                hint='map one of them under events.topics, or use a dotted template: "{prefix}.{schema}.{table}"',
                relation=f"{namespace}.{name}",
            )
        return subject

    def _check_reserved(self, namespace: str, name: str, subject: str) -> None:
        """Whatever the configuration says now: another one may have stored descriptions there."""
        for beginning, others in self._reserved.items():
            if subject.startswith(beginning):
                raise _collision(namespace, name, subject, others)


def _collision(namespace: str, name: str, subject: str, others: str) -> SubjectCollision:
    return SubjectCollision(
        f"table {namespace}.{name} would share the subject {subject} with {others}",
        hint="map it to another subject under events.topics",
        relation=f"{namespace}.{name}",
    )
