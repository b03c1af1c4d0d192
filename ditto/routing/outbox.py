"""The outbox: a table whose inserted rows become messages (`events.outbox`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import structlog

from ditto.config import Events
from ditto.config.events import Outbox
from ditto.config.message_rules import outbox_template
from ditto.config.template_syntax import Template, Value, columns_of
from ditto.decoding.column_kinds import CALL, SKIP, TEXT, Kinds
from ditto.decoding.messages import Relation, RuleFailed
from ditto.errors import RuleUnfit
from ditto.formats.message_content import BYTES, JSON, Content, Unsendable, read_headers, type_of
from ditto.routing.former_names import with_new_names
from ditto.routing.message_rule import SUBJECTS, first_escaped, impossible_subject, routed_content, subject_tokens
from ditto.routing.patterns import Patterns
from ditto.routing.route_limit import RouteLimit
from ditto.routing.router import find_reserved
from ditto.routing.table_columns import find_unknown, may_hide
from ditto.routing.table_plans import Routed, Routes, Rule, TablePlan, Texts
from ditto.routing.templates import NULL, SUBJECT, bind, encode_token, event_text
from ditto.routing.traceparents import is_traceparent

log = structlog.get_logger()

_PLACE: Final = "events.outbox"
_PAYLOADS: Final[Mapping[str, str | None]] = MappingProxyType(
    {"json": JSON, "jsonb": JSON, "bytea": BYTES, "text": None, "varchar": None, "bpchar": None}
)
"""By type of the payload's column: the content type, None where the text itself tells."""
_HEADERS: Final = frozenset({"json", "jsonb", "text", "varchar"})
_TRACEPARENT: Final = "traceparent"
_COLUMNS: Final = ("payload", "id", "key", "headers")


def plan_outbox(
    events: Events,
    outbox: Outbox,
    relation: Relation,
    *,
    database: str,
    kinds: bytes,
    routes: Routes,
    limit: RouteLimit | None = None,
) -> TablePlan:
    """The plan of the outbox's relation. Raises RuleUnfit."""
    for mistake in find_outbox_mistakes(events, outbox, relation):
        raise mistake
    maker = _Maker(
        events, outbox, with_new_names(relation, outbox.former), database=database, kinds=kinds, limit=limit or SUBJECTS
    )
    return TablePlan(relation=relation, routes=routes, kinds=maker.kinds, functions=maker.functions, rule=maker.rule())


def find_outbox_mistakes(events: Events, outbox: Outbox, relation: Relation) -> Iterator[RuleUnfit]:
    """Everything of `events.outbox` that does not fit its table."""
    named, former = with_new_names(relation, outbox.former), f"{_PLACE}.former"
    used = {key: [column] for key in _COLUMNS if (column := getattr(outbox, key)) is not None}
    used["subject"] = columns_of(outbox_template(outbox.subject))
    for key, columns in used.items():
        yield from find_unknown(columns, f"{_PLACE}.{key}", named, former=former)
    yield from _find_hidden(events, used, relation)
    names = {column.name for column in named.columns}
    wanted = (("payload", outbox.payload, frozenset(_PAYLOADS)), ("headers", outbox.headers, _HEADERS))
    for key, column, types in wanted:
        if column is None or column not in names or (found := _type_name(named, column)) in types:
            continue
        table = f"{relation.namespace}.{relation.name}"
        yield RuleUnfit(
            f"{_PLACE}.{key} names the column {column} of table {table}, whose type is {found}",
            hint=f"it has to be one of {', '.join(sorted(types))}",
            key=f"{_PLACE}.{key}",
            relation=table,
        )


def _find_hidden(events: Events, used: Mapping[str, Sequence[str]], relation: Relation) -> Iterator[RuleUnfit]:
    """Columns that an entry of `events.tables` hides: messages would have them in clear."""
    found = Patterns(events.rules).match(relation.namespace, relation.name)
    if found is None or (hiding := found[1].columns) is None:
        return
    table = f"{relation.namespace}.{relation.name}"
    for key, columns in used.items():
        for column in columns:
            if may_hide(hiding, [column]):
                yield RuleUnfit(
                    f"{_PLACE}.{key} names the column {column} of table {table}, and events.tables.{found[0].key} "
                    "hides it: the rules of events.tables do not hold for an outbox",
                    hint="let another column be there; or let the key in events.tables not match the table",
                    key=f"{_PLACE}.{key}",
                    relation=table,
                )


def _type_name(relation: Relation, name: str) -> str:
    found = next(column for column in relation.columns if column.name == name)
    return Kinds().type_name(found.type_oid, found.type_namespace, found.type_name)


class _Maker:
    """`relation` has the names that `events.outbox` has."""

    def __init__(
        self,
        events: Events,
        outbox: Outbox,
        relation: Relation,
        *,
        database: str,
        kinds: bytes,
        limit: RouteLimit,
    ) -> None:
        self._events = events
        self._limit = limit
        self._outbox = outbox
        self._relation = relation
        self._database = database
        self._template: Template = outbox_template(outbox.subject)
        self._indexes = {column.name: index for index, column in enumerate(relation.columns)}
        self._usual = kinds

    def _type(self, column: str) -> str:
        return _type_name(self._relation, column)

    @property
    def kinds(self) -> bytes:
        """The payload alone is part of the change."""
        kind = CALL if self._type(self._outbox.payload) == "bytea" else TEXT
        return bytes(kind if column.name == self._outbox.payload else SKIP for column in self._relation.columns)

    @property
    def functions(self) -> tuple[Callable[[str | None], Any] | None, ...]:
        if CALL not in self.kinds:
            return ()
        return tuple(_bytes_of if kind == CALL else None for kind in self.kinds)

    def rule(self) -> Rule:
        outbox = self._outbox
        trace = self._events.traceparent.column
        named = [outbox.payload, outbox.id, outbox.key, outbox.headers, *columns_of(self._template)]
        if trace in self._indexes:
            named.append(trace)
        columns = list(dict.fromkeys(name for name in named if name is not None))
        return Rule(columns=tuple(self._indexes[name] for name in columns), apply=self._apply(columns))

    def _apply(self, columns: list[str]) -> Callable[[str, Texts | None, Texts | None], Routed | None]:
        outbox, place = self._outbox, {name: index for index, name in enumerate(columns)}
        content_type = _PAYLOADS[self._type(outbox.payload)]
        subject, is_dropping = self._subject(place), outbox.on_error == "drop"
        text = {
            name: self._text(column, place) for name in ("id", "key") if (column := getattr(outbox, name)) is not None
        }
        payload, headers = place[outbox.payload], place.get(outbox.headers or "")
        trace = place.get(self._events.traceparent.column or "")
        has_warned = False

        def make(row: Texts) -> Routed:
            body = row[payload]
            given = {} if headers is None or not isinstance(row[headers], str) else read_headers(_encoded(row[headers]))
            if trace is not None and not any(name.lower() == _TRACEPARENT for name in given):
                value = row[trace]
                if isinstance(value, str) and value.isascii() and is_traceparent(value.encode()):
                    given[_TRACEPARENT] = value
            content = Content(
                b"",
                "" if not isinstance(body, str) else content_type or type_of(body.encode()),
                given,
                text["key"](row) if "key" in text else None,
                text["id"](row) if "id" in text else None,
            )
            return routed_content(subject(row), content)

        def apply(action: str, new: Texts | None, old: Texts | None) -> Routed | None:
            nonlocal has_warned
            del action, old
            if new is None:
                return None
            try:
                return make(new)
            except Unsendable as error:
                if not is_dropping:
                    raise RuleFailed(_PLACE, str(error)) from None
                reason = str(error)
            except RuleFailed as error:
                if not is_dropping:
                    raise
                reason = error.reason
            if not has_warned:
                has_warned = True
                log.warning("message.dropped", rule=_PLACE, reason=f"{reason}; more of them are not told")
            return None

        return apply

    def _text(self, column: str, place: Mapping[str, int]) -> Callable[[Texts], str | None]:
        """The value of a column as events have it."""
        index, kind = place[column], self._usual[self._indexes[column]]

        def text(row: Texts) -> str | None:
            cell = row[index]
            return event_text(cell, kind) if isinstance(cell, str) else None

        return text

    def _subject(self, place: Mapping[str, int]) -> Callable[[Texts], bytes]:
        """Of a column that ends the template the dots stay dots: no other value comes after it."""
        names = {"prefix": self._events.prefix, "database": encode_token(self._database)}
        limit = self._limit
        last, is_reserved = self._template[-1], find_reserved(self._events, database=self._database)
        template = self._template[:-1] if isinstance(last, Value) else self._template
        kinds = {name: self._usual[index] for name, index in self._indexes.items()}
        bound = bind(template, names, kinds, plain=(), place=SUBJECT, rule=f"{_PLACE}.subject", substitutes=False)
        slots = [
            (slot.encode, place[slot.column], after)
            for slot, after in zip(bound.slots, bound.literals[1:], strict=True)
        ]
        last_text = self._text(last.column, place) if isinstance(last, Value) else None

        def subject(row: Texts) -> bytes:
            made = bound.literals[0]
            for encode, index, after in slots:
                made += encode(row[index]) + after
            if last_text is not None:
                text = last_text(row)
                made += NULL if text is None else subject_tokens(text).encode()
            found = first_escaped(made.decode())
            if not limit.fits(found) or is_reserved(found):
                raise Unsendable(impossible_subject(limit))
            return found.encode()

        return subject


def _encoded(cell: object) -> bytes:
    return str(cell).encode()


def _bytes_of(text: str | None) -> bytes | None:
    """Of bytea, whose text is hexadecimal digits: `bytea_output` is pinned."""
    return None if text is None else bytes.fromhex(text.removeprefix("\\x"))
