"""What the decoder asks about each logical message: whether it is stored, on which subject, with what headers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

import structlog

from ditto.config import Events
from ditto.config.events import MessageRules
from ditto.config.message_rules import OWN, is_glob, message_template
from ditto.config.template_syntax import Name, Template
from ditto.decoding.messages import RuleFailed
from ditto.errors import ConfigError
from ditto.formats.message_content import Content, Unsendable, encode_id, encode_key, header_lines, read_content
from ditto.formats.own_headers import ID
from ditto.routing.route_limit import RouteLimit
from ditto.routing.router import find_reserved
from ditto.routing.table_plans import MessageRule, Routed
from ditto.routing.templates import EMPTY, encode_token

log = structlog.get_logger()

MAX_SUBJECT: Final = 1024
"""Bytes; nats-server takes lines of 4 KB, with the subject for the answer in them."""
SUBJECTS: Final = RouteLimit(MAX_SUBJECT, lambda subject: len(subject.encode()), "bytes")
"""Where the sink takes longer ones."""

MAX_PREFIX: Final = 1024
"""Characters; the prefix is a header, of which nats-server takes 64 KB together."""

_MAX_KNOWN: Final = 1000
_WILD: Final = re.compile(r"[*?\[]")


class _Entry(NamedTuple):
    """An entry of `events.messages`."""

    key: str
    rules: MessageRules
    template: Template

    @property
    def place(self) -> str:
        return f"events.messages.{self.key}"

    @property
    def rank(self) -> tuple[bool, int]:
        """The higher, the more specific."""
        return not is_glob(self.key), len(_WILD.sub("", self.key))

    def matches(self, prefix: str) -> bool:
        return fnmatchcase(prefix, self.key) if is_glob(self.key) else prefix == self.key


class _Routes:
    """Finds entry and route of a prefix, and remembers them."""

    def __init__(self, events: Events, *, database: str, limit: RouteLimit = SUBJECTS) -> None:
        self._limit = limit
        self._names = {"prefix": events.prefix, "database": encode_token(database)}
        self._entries = _entries(events.message_rules)
        self._is_reserved = find_reserved(events, database=database)
        self._known: dict[str, tuple[_Entry, bytes] | None] = {}

    def find(self, prefix: str) -> tuple[_Entry, bytes] | None:
        """None where the prefix is not selected; an empty route where its subject is impossible."""
        try:
            return self._known[prefix]
        except KeyError:
            pass
        entry = None if prefix.startswith(OWN) else next((each for each in self._entries if each.matches(prefix)), None)
        found = None if entry is None else (entry, self._route(entry, prefix))
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        if len(prefix) <= MAX_PREFIX:
            self._known[prefix] = found
        return found

    def _route(self, entry: _Entry, prefix: str) -> bytes:
        names = {**self._names, "message.prefix": subject_tokens(prefix)}
        subject = first_escaped(
            "".join(names[part.name] if isinstance(part, Name) else str(part) for part in entry.template)
        )
        is_possible = self._limit.fits(subject) and not self._is_reserved(subject)
        return subject.encode() if is_possible else b""


def make_message_rule(events: Events, *, database: str, limit: RouteLimit | None = None) -> MessageRule | None:
    """For the decoder; None where no logical message becomes a message. `limit` is the sink's, if it has one."""
    if not events.messages:
        return None
    limit = limit or SUBJECTS
    routes = _Routes(events, database=database, limit=limit)
    warned: set[str] = set()

    def rule(prefix: str, content: bytes, is_transactional: bool) -> Routed | None:
        del is_transactional
        found = routes.find(prefix)
        if found is None:
            return None
        entry, route = found
        try:
            if len(prefix) > MAX_PREFIX:
                raise Unsendable(f"its prefix has more than {MAX_PREFIX} characters")
            if not route:
                raise Unsendable(impossible_subject(limit))
            return routed_content(route, read_content(content))
        except Unsendable as error:
            if entry.rules.on_error == "stop":
                raise RuleFailed(entry.place, str(error)) from None
            if entry.key not in warned:
                warned.add(entry.key)
                log.warning("message.dropped", rule=entry.place, reason=f"{error}; more of them are not told")
            return None

    return rule


def routed_content(route: bytes, content: Content) -> Routed:
    """Where a message goes, and its headers: an id of the application's own comes first. Raises Unsendable."""
    identifier = b"" if content.id is None else f"{ID}: {encode_id(content.id)}\r\n".encode()
    return Routed(route, identifier + header_lines(content), encode_key(content.key))


def impossible_subject(limit: RouteLimit) -> str:
    """What is wrong, as the end of a sentence about a message."""
    return f"its subject takes more than {limit.longest} {limit.what}, or is one that Ditto uses itself"


def subject_tokens(text: str) -> str:
    """A text whose dots stay dots, as tokens of a subject: none of them is empty, and no two texts give the same."""
    return ".".join(encode_token(token) or EMPTY.decode() for token in text.split("."))


def first_escaped(subject: str) -> str:
    """The subject, which is not one of those that nats-server uses itself."""
    if subject.startswith("$"):
        return f"%24{subject[1:]}"
    first, dot, rest = subject.partition(".")
    return f"%5FINBOX{dot}{rest}" if first == "_INBOX" else subject


def message_subjects(events: Events, *, database: str) -> set[str]:
    """What the sink has to take for logical messages: whole subjects, and what covers those of a pattern.

    What a message's own prefix begins is not among them, where that is known by its pattern alone
    (`has_open_subjects`). Raises ConfigError.
    """
    routes = _Routes(events, database=database)
    found = set()
    for entry in _entries(events.message_rules):
        if not is_glob(entry.key):
            _, route = routes.find(entry.key) or (entry, b"")
            if not route:
                raise _impossible(entry.place, events)
            found.add(route.decode())
        elif (covering := _covering(entry, events.prefix, database)) is not None:
            check_covering(covering, entry.place, events, database=database)
            found.add(covering)
    return found


def check_covering(covering: str, place: str, events: Events, *, database: str) -> None:
    """Raise ConfigError where none of the subjects that this one covers could ever be sent."""
    is_reserved = find_reserved(events, database=database)
    # Of a wildcard everything that begins so is covered: no subject is known that begins with a zero byte.
    subject = f"{covering.removesuffix('>')}\0" if covering.endswith(">") else covering
    if is_reserved(subject) or len(covering.encode()) > MAX_SUBJECT:
        raise _impossible(place, events)


def _impossible(place: str, events: Events) -> ConfigError:
    return ConfigError(
        f"{place} gives a subject that Ditto uses itself, or one of more than {MAX_SUBJECT} bytes",
        hint=f"nothing else may be on {events.prefix}._checkpoint, ._schema and ._snapshot, and on "
        "events.group.subject",
        key=place,
    )


def has_open_subjects(events: Events, *, database: str) -> bool:
    """Whether some subjects of logical messages are known only when the message comes."""
    return any(
        is_glob(entry.key) and _covering(entry, events.prefix, database) is None
        for entry in _entries(events.message_rules)
    )


def _covering(entry: _Entry, prefix: str, database: str) -> str | None:
    """The tokens that are the same for every message of a pattern, and a wildcard; None where the first one is not."""
    tokens = [""]
    for part in entry.template:
        if isinstance(part, Name) and part.name == "message.prefix":
            fixed = _WILD.split(entry.key, maxsplit=1)[0].split(".")
            tokens[-1] += encode_token(fixed[0])
            tokens += map(encode_token, fixed[1:])
            known = [token or EMPTY.decode() for token in tokens[:-1]]
            return first_escaped(".".join([*known, ">"])) if known else None
        names: Mapping[str, str] = {"prefix": prefix, "database": encode_token(database)}
        first, *others = (names[part.name] if isinstance(part, Name) else str(part)).split(".")
        tokens[-1] += first
        tokens += others
    return ".".join(tokens)


def _entries(rules: Mapping[str, MessageRules]) -> Collection[_Entry]:
    made = [_Entry(key, each, message_template(each.subject)) for key, each in rules.items()]
    return sorted(made, key=lambda entry: entry.rank, reverse=True)
