"""Impossible rules of tables: what can be said of an entry of `events.tables` without looking at any table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from ditto.config.events import Action, Columns, Mask, TableRules
from ditto.config.header_names import is_of_formats, is_possible, is_taken
from ditto.config.impossible import Impossible
from ditto.config.template_syntax import (
    PLACEHOLDERS,
    Name,
    Template,
    TemplateError,
    Value,
    is_subject,
    parse_template,
)

REGEX: Final = "re:"
"""Before a key that is a regular expression."""

MAX_VALUE: Final = 512
"""Bytes that a value may take in a subject, and four times as many in a header."""
_SHARED: Final = frozenset({"prefix", "database", "action"})
"""Placeholders that are no part of a table's name."""
_MAX_SUBJECT_VALUES: Final = 6
_MAX_HEADER_VALUES: Final = 20
"""nats-server takes 4 KB of subject and 64 KB of headers."""


def check_key(of: str, key: str) -> None:
    """A key of `events.tables` or `events.topics`. Raises Impossible."""
    if not key.strip():
        raise Impossible("has an empty table name")
    if key.startswith(REGEX):
        try:
            groups = re.compile(key.removeprefix(REGEX)).groupindex
        except re.error as error:
            at = "" if error.pos is None else f", at its character {error.pos + 1}"
            raise Impossible(f"is no regular expression: {error.msg}{at}", place=f"{of}.{key}") from None
        if taken := [name for name in groups if name in {*PLACEHOLDERS, "data"}]:
            raise Impossible(
                f"has a group with the name of a placeholder: {taken[0]}",
                place=f"{of}.{key}",
                hint=f"call it otherwise: {taken[0]}_part",
            )


def group_names(key: str) -> tuple[str, ...]:
    """The named groups of a key that is a regular expression."""
    return tuple(re.compile(key.removeprefix(REGEX)).groupindex) if key.startswith(REGEX) else ()


def subject_template(key: str, text: str) -> Template:
    """The parts of `events.tables.KEY.subject`. Raises TemplateError."""
    return parse_template(text, (*PLACEHOLDERS, *group_names(key)), has_data=True)


header_template = subject_template
"""The same of `events.tables.KEY.headers`: the placeholders are those of subjects."""


def check_entry(key: str, entry: list[Action] | TableRules) -> None:
    """An entry of `events.tables`. Raises Impossible, whose place is what is wrong."""
    check_key("events.tables", key)
    place = f"events.tables.{key}"
    actions = entry if isinstance(entry, list) else entry.actions
    if actions is not None and not actions:
        raise Impossible("must name an action: as it is, nothing would pass", place=place)
    if isinstance(entry, list):
        return
    if entry.columns is not None:
        _check_columns(entry.columns, f"{place}.columns")
    if entry.subject is not None:
        _check_subject(key, entry.subject, f"{place}.subject")
    _check_headers(key, entry, f"{place}.headers")
    if entry.key is not None:
        _check_names(entry.key, f"{place}.key")


def _check_columns(columns: Columns, place: str) -> None:
    if columns.include is not None and columns.exclude is not None:
        raise Impossible("has include and exclude: one of them says everything", place=place)
    for name in ("include", "exclude"):
        if (given := getattr(columns, name)) is not None:
            _check_names(given, f"{place}.{name}")
    for column, mask in columns.mask.items():
        is_left_out = column in (columns.exclude or ()) or (
            columns.include is not None and column not in columns.include
        )
        if is_left_out:
            raise Impossible("masks a column that is left out", place=f"{place}.mask.{column}")
        _check_mask(mask, f"{place}.mask.{column}")
    check_former(columns.former, f"{place}.former")


def check_former(former: Mapping[str, Sequence[str]], place: str) -> None:
    """Former names of columns. Raises Impossible."""
    for name, before in former.items():
        _check_names(before, f"{place}.{name}")
    given = [each for before in former.values() for each in before]
    if taken := next((name for name in given if name in former or given.count(name) > 1), None):
        raise Impossible(
            f"has {taken} twice: a column has one name, and a former name is that of one column",
            place=place,
            hint="of a column that was renamed twice both former names are in one list: {c: [a, b]}",
        )


def _check_names(names: Sequence[str], place: str) -> None:
    if not names:
        raise Impossible("must name a column", place=place)
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise Impossible(f"names {twice[0]} twice", place=place)


def _check_mask(mask: Mask, place: str) -> None:
    given = [name for name in ("constant", "keep_first", "keep_last", "hash") if getattr(mask, name) is not None]
    given += ["null"] if mask.null else []
    if len(given) != 1:
        said = f"has {' and '.join(given)}" if given else "says nothing"
        raise Impossible(f"{said}: a mask is one of constant, keep_first, keep_last, hash and null", place=place)
    if mask.hash == "hmac-sha256" and not mask.key:
        raise Impossible(
            "must have a key that is not empty: without one hmac-sha256 hides nothing",
            place=place,
            hint="key: ${MASK_KEY} takes it from the environment",
        )
    if mask.hash != "hmac-sha256" and mask.key is not None:
        raise Impossible("has a key, which only hmac-sha256 uses", place=place)


def _check_subject(key: str, text: str, place: str) -> None:
    template = _parsed(key, text, place)
    if not is_subject("".join(part if isinstance(part, str) else "x" for part in template)):
        raise Impossible("must give a NATS subject: no white space, no * or >, no empty part between dots", place=place)
    tokens = _tokens(template)
    if any(isinstance(part, Value) for part in tokens[0]):
        raise Impossible(
            "must not begin with the value of a column: the first part before a dot says whose subjects these are",
            place=place,
            hint=f"put {{prefix}}.{{table}}. before it: {{prefix}}.{{table}}.{text}",
        )
    for token in tokens:
        _check_told_apart(token, place)
        _check_no_table(token, place)
    count = sum(isinstance(part, Value) for part in template)
    if count > _MAX_SUBJECT_VALUES:
        raise Impossible(f"has more than {_MAX_SUBJECT_VALUES} columns: a subject would get too long", place=place)


def _check_headers(key: str, entry: TableRules, place: str) -> None:
    seen: set[str] = set()
    count = 0
    for name, text in entry.headers.items():
        where = f"{place}.{name}"
        if not is_possible(name):
            raise Impossible("has a name that no header may have: letters, digits and - are fine", place=where)
        if is_taken(name):
            raise Impossible(
                "has the name of a header that Ditto, nats-server or a NATS client uses itself", place=where
            )
        if is_of_formats(name):
            raise Impossible("has the name of a header by which readers tell the formats of events", place=where)
        if name.lower() == "traceparent":
            raise Impossible("is written by events.traceparent.column", place=where)
        if name.lower() in seen:
            raise Impossible("is there twice: the names of headers are the same in upper and lower case", place=where)
        seen.add(name.lower())
        template = _parsed(key, text, where)
        if not all(part.isascii() and part.isprintable() for part in template if isinstance(part, str)):
            raise Impossible("must be printable ASCII besides its placeholders", place=where)
        _check_told_apart(template, where)
        count += sum(isinstance(part, Value) for part in template)
    if count > _MAX_HEADER_VALUES:
        raise Impossible(f"have more than {_MAX_HEADER_VALUES} columns: they would get too long", place=place)


def _parsed(key: str, text: str, place: str) -> Template:
    try:
        return subject_template(key, text)
    except TemplateError as error:
        raise Impossible(str(error), place=place, hint=error.hint) from None


def _tokens(template: Template) -> list[list[str | Name | Value]]:
    """The parts of a subject between its dots."""
    tokens: list[list[str | Name | Value]] = [[]]
    for part in template:
        first, *others = part.split(".") if isinstance(part, str) else [part]
        tokens[-1].append(first)
        tokens += [[each] for each in others]
    return tokens


def _check_no_table(parts: Sequence[str | Name | Value], place: str) -> None:
    """Names of tables are not encoded by what is beside them: value x and table yz would look like xy and z."""
    names = [part.name for part in parts if isinstance(part, Name) and part.name not in _SHARED]
    if names and any(isinstance(part, Value) for part in parts):
        raise Impossible(
            f"must have a dot between {{{names[0]}}} and the value of a column: rows of two tables could get the same "
            "subject",
            place=place,
        )


def _check_told_apart(parts: Sequence[str | Name | Value], place: str) -> None:
    """Of two values side by side nobody could tell where the first one ends."""
    given = [part for part in parts if part != ""]
    places = [index for index, part in enumerate(given) if isinstance(part, Value)]
    for index in places[:-1]:
        after = given[index + 1]
        if not isinstance(after, str) or after[0].isalnum() or after[0] == "%":
            raise Impossible(
                "must have a sign that is no letter, digit or % between two columns: 1 and 23 would look like 12 and 3",
                place=place,
            )
