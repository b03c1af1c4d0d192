"""Which of a table's changes pass, and to which subject, as the configuration says."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from itertools import takewhile
from typing import Final

from ditto.config import ACTIONS, READ, Events
from ditto.config.events import TableRules
from ditto.config.message_rules import outbox_template
from ditto.config.table_rules import MAX_VALUE, subject_template
from ditto.config.template_syntax import Name, Value
from ditto.errors import RuleUnfit, SubjectCollision
from ditto.routing.patterns import Patterns
from ditto.routing.table_names import TableNames
from ditto.routing.table_plans import Routes
from ditto.routing.templates import EMPTY, encode_token, may_make, wildcard

CHECKPOINT: Final = "_checkpoint"
SCHEMA: Final = "_schema"
SNAPSHOT: Final = "_snapshot"

MAX_SUBJECT: Final = 3900
"""Bytes. nats-server ends a connection that sends a line of more than 4,096, which has more in it than the subject."""

MANY: Final = 300
"""Subjects of a stream. nats-server compares each with each whenever one is added: 40 ms for 1,000, 4 s for 10,000."""

_TABLES: Final = re.compile(r"\{(schema|table|action)\}")
_SHARED: Final = frozenset({"prefix", "database", "action"})
"""Placeholders that are the same for all tables."""
_MAPPED: Final = ("", "")
_CHECKPOINT_OWNER: Final = ("", CHECKPOINT)
_CHECKPOINTS: Final = "Ditto's checkpoints"


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


def group_subject(config: Events, *, database: str) -> str | None:
    """Where all events go in groups; None where each is a message."""
    if config.group is None:
        return None
    return config.group.subject.format(prefix=config.prefix, database=encode_token(database))


def find_reserved(config: Events, *, database: str) -> Callable[[str], bool]:
    """What tells whether a subject is Ditto's own: no message of an application's may be there."""
    subjects = {checkpoint_subject(config.prefix), group_subject(config, database=database)}
    beginnings = (description_subjects(config.prefix), snapshot_subjects(config.prefix))
    return lambda subject: subject in subjects or subject.startswith(beginnings)


class Router:
    """Gives each table its routes, which are subjects, and sees that no two tables share one by accident."""

    def __init__(self, config: Events, *, database: str) -> None:
        self._prefix = config.prefix
        self._template = config.subject
        self._plain_database = database
        self._database = encode_token(database)
        self._tables: Patterns[TableRules] | None = None if config.tables is None else Patterns(config.rules)
        self._outbox = None if config.outbox is None else config.outbox.name
        self._outbox_template = () if config.outbox is None else outbox_template(config.outbox.subject)
        self._topics: Patterns[str] = Patterns(config.topics)
        # Only the newest checkpoint is kept: an event on its subject would be deleted by the next one.
        self._owners: dict[str, tuple[str, str]] = {self.checkpoint_subject: _CHECKPOINT_OWNER}
        self._reserved = {
            description_subjects(config.prefix): "Ditto's descriptions of tables",
            snapshot_subjects(config.prefix): "the control events of snapshots",
        }
        group = group_subject(config, database=database)
        self.group_route = None if group is None else self._group_route(group)
        """Where all events go in groups; None where each is a message."""

    def _group_route(self, subject: str) -> bytes:
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
        if (namespace, name) == self._outbox:
            return self._outbox_routes()
        actions: Sequence[str] = ACTIONS
        if self._tables is not None:
            rules = self._tables.find(namespace, name)
            actions = () if rules is None else ACTIONS if rules.actions is None else rules.actions
        insert, update, delete, truncate = (
            (group or self._subject(namespace, name, action).encode()) if action in actions else None
            for action in ACTIONS
        )
        is_read = insert is not None or update is not None
        read = (group or self._subject(namespace, name, READ).encode()) if is_read else None
        return Routes(insert, update, delete, truncate, read)

    def _outbox_routes(self) -> Routes:
        """Those of rows alone that are there; the route covers the messages' own, and is empty where nothing does."""
        covering = self.outbox_covering or ">"
        route = b"" if covering == ">" else covering.encode()
        return Routes(route, None, None, None, route)

    @property
    def outbox_covering(self) -> str | None:
        """The one subject that covers all that rows of the outbox give; None without an outbox."""
        if self._outbox is None:
            return None
        return wildcard(self._outbox_template, {"prefix": self._prefix, "database": self._database})

    def forget(self, tables: Collection[tuple[str, str]]) -> None:
        """These have been dropped: another table may have their subjects."""
        self._owners = {subject: owner for subject, owner in self._owners.items() if owner not in tables}

    def rules(self, namespace: str, name: str) -> tuple[str, TableRules] | None:
        """The entry of `events.tables` that holds for a table, with its key; None where there is none."""
        found = (
            None if self._tables is None or (namespace, name) == self._outbox else self._tables.match(namespace, name)
        )
        return None if found is None else (found[0].key, found[1])

    def names(self, namespace: str, name: str) -> TableNames:
        """The placeholders of a table's templates."""
        found = None if self._tables is None else self._tables.match(namespace, name)
        groups = {} if found is None else found[0].groups(namespace, name)
        plain = {
            "prefix": self._prefix,
            "schema": namespace,
            "table": name,
            "database": self._plain_database,
            **groups,
        }
        encoded = {key: encode_token(text) or EMPTY.decode() for key, text in plain.items()}
        return TableNames(subject={**encoded, "prefix": self._prefix}, plain=plain)

    def _subject(self, namespace: str, name: str, action: str) -> str:
        found = None if self._tables is None else self._tables.find(namespace, name)
        if found is not None and found.subject is not None:
            return self._own_subject(namespace, name, action)
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
        _check_length(len(subject.encode()), "events.subject", namespace, name)
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

    def _own_subject(self, namespace: str, name: str, action: str) -> str:
        """The subject that the table's rules give it, or what covers those that they may give its rows.

        Tables share one where the template names no table: that is meant so, as with `events.topics`.
        """
        key, rules = self.rules(namespace, name) or ("", TableRules())
        template = subject_template(key, rules.subject or "")
        names = self.names(namespace, name).of_subject(action)
        for beginning, others in {self.checkpoint_subject: _CHECKPOINTS, **self._reserved}.items():
            if may_make(template, names, beginning):
                raise _collision(namespace, name, rules.subject or "", others)
        is_own = any(isinstance(part, Name) and part.name not in _SHARED for part in template)
        known = [
            names[part.name] if isinstance(part, Name) else part for part in template if not isinstance(part, Value)
        ]
        size = len("".join(known).encode()) + MAX_VALUE * (len(template) - len(known))
        _check_length(size, f"events.tables.{key}.subject", namespace, name)
        shape = "".join(
            "*" if isinstance(part, Value) else names[part.name] if isinstance(part, Name) else part
            for part in template
        )
        owner = self._owners.setdefault(shape, (namespace, name) if is_own else _MAPPED)
        if owner not in {(namespace, name), _MAPPED}:
            raise SubjectCollision(
                f"tables {owner[0]}.{owner[1]} and {namespace}.{name} would share the subject {shape}, by "
                f"events.tables.{key}.subject",
                hint="put {schema}.{table} into it to tell tables apart; or no name of a table, to mix them on purpose",
                relation=f"{namespace}.{name}",
            )
        return wildcard(template, names)

    def _check_reserved(self, namespace: str, name: str, subject: str) -> None:
        """Whatever the configuration says now: another one may have stored descriptions there."""
        for beginning, others in self._reserved.items():
            if subject.startswith(beginning):
                raise _collision(namespace, name, subject, others)


def _check_length(size: int, place: str, namespace: str, name: str) -> None:
    if size > MAX_SUBJECT:
        table = f"{namespace}.{name}"
        raise RuleUnfit(
            f"{place} may give table {table} subjects of {size:,} bytes, and nats-server takes {MAX_SUBJECT:,}",
            hint=f"shorten the template: each value in it may take {MAX_VALUE} bytes",
            key=place,
            relation=table,
        )


def _collision(namespace: str, name: str, subject: str, others: str) -> SubjectCollision:
    return SubjectCollision(
        f"table {namespace}.{name} would share the subject {subject} with {others}",
        hint="put text of its own before the value of a column, such as {prefix}.{schema}.{table}."
        if "{data." in subject
        else "give it another subject: in events.topics, or in its entry of events.tables",
        relation=f"{namespace}.{name}",
    )
