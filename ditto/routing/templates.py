"""Templates of one table: a function that makes a subject, or a header, from the values of a row.

Values are encoded so that two of them never give the same text, and none gets out of its place: what a subject's token
or a header cannot hold is percent-encoded, and so is % itself. What is no text has a token that no text gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from msgspec import Raw, UnsetType

from ditto.config.table_rules import MAX_VALUE
from ditto.config.template_syntax import Name, Template, Value
from ditto.decoding import column_kinds
from ditto.decoding.messages import RuleFailed
from ditto.routing.route_limit import RouteLimit

NULL: Final = b"%null"
EMPTY: Final = b"%empty"
UNSENT: Final = b"%unsent"
TOO_LONG: Final = b"%long"

Cell: TypeAlias = str | UnsetType | None
"""PostgreSQL's text, or what a mask has made of it; UNSET where the value was not sent."""

# What a token of a subject cannot hold, and % itself, so that encoding is one to one:
# https://docs.nats.io/nats-concepts/subjects#characters-allowed-and-recommended-for-subject-names
_SUBJECT: Final = r"\x00-\x20\x7f.*>%"
_HEADER: Final = r"\x00-\x1f%\x7f-\U0010ffff"
_FORBIDDEN: Final = re.compile(f"[{_SUBJECT}]")
SAME: Final = frozenset({column_kinds.TEXT, column_kinds.INT, column_kinds.FLOAT, column_kinds.JSON, column_kinds.CHAR})
"""Kinds whose values have PostgreSQL's text in events, too."""


class Place(NamedTuple):
    """What kind of text values are put into."""

    forbidden: str
    """What is percent-encoded, as the inside of a class of a regular expression."""
    limit: int
    """Bytes that a value may take."""
    trims: bool
    """Readers take no white space at the ends for a part of the text."""
    sink: RouteLimit | None = None
    """What measures the value, where that is not its bytes."""

    def fits(self, encoded: bytes) -> bool:
        """Whether a value may be there."""
        return (len(encoded) if self.sink is None else self.sink.measure(encoded.decode())) <= self.limit


SUBJECT: Final = Place(_SUBJECT, MAX_VALUE, trims=False)
HEADER: Final = Place(_HEADER, 4 * MAX_VALUE, trims=True)

_REMEMBERED: Final = 1024
"""Values of a slot."""
QUICK_LENGTH: Final = MAX_VALUE // 4
"""A text of letters and digits that has at most so many characters needs no encoding in a subject, and fits."""


class Slot(NamedTuple):
    """The place of a column's value in a template."""

    column: str
    end: str
    """The sign that ends the value, where another value follows."""
    is_quick: bool
    """A text of few letters and digits stays as it is."""
    encode: Callable[[Cell], bytes]
    """Raises RuleFailed, or gives a substitute."""
    is_plain: bool = False
    """Every text stays as it is."""
    kept: bytes = b""
    """For each character of ASCII whether it stays as it is; nothing where events have another text."""
    limit: int = 0
    """Bytes that the value may take."""
    longest_quick: int = QUICK_LENGTH
    """Characters of a text that may stay as it is."""


class Bound(NamedTuple):
    """A template of one table and action: literals and slots by turns, beginning and ending with a literal."""

    literals: tuple[bytes, ...]
    slots: tuple[Slot, ...]


def event_text(text: str, kind: int) -> str:
    """The text of a value as events have it: a JSON string's content, or the value's JSON."""
    if kind in SAME:
        return text
    from ditto.decoding.pure.column_values import convert  # noqa: PLC0415  of no use to most pipelines

    value = convert(text.encode(), kind)
    if isinstance(value, Raw):
        return bytes(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def bind(
    template: Template,
    names: Mapping[str, str],
    kinds: Mapping[str, int],
    *,
    plain: Collection[str],
    place: Place,
    rule: str,
    substitutes: bool,
) -> Bound:
    """The template with the names filled in, which are encoded already; `kinds` are those of the columns.

    `plain` are columns whose values are never encoded: numbers and UUIDs.

    `rule` is the key for errors. With `substitutes` what was not sent or is too long has a token of its own.
    """
    literals, columns = [""], list[str]()
    for part in template:
        if isinstance(part, Value):
            columns.append(part.column)
            literals.append("")
        else:
            literals[-1] += names[part.name] if isinstance(part, Name) else part
    slots = []
    for index, column in enumerate(columns):
        end = literals[index + 1][:1] if index + 1 < len(columns) else ""
        slot = _slot(column, kinds[column], place, end=end, rule=rule, substitutes=substitutes)
        slots.append(slot._replace(is_plain=column in plain and end != "-"))
    return Bound(tuple(literal.encode() for literal in literals), tuple(slots))


def wildcard(template: Template, names: Mapping[str, str]) -> str:
    """What covers every subject that the template makes: its first tokens, as far as no value is in them."""
    tokens = [""]
    for part in template:
        if isinstance(part, Value):
            return ".".join([*tokens[:-1], ">"])
        first, *others = (names[part.name] if isinstance(part, Name) else part).split(".")
        tokens[-1] += first
        tokens += others
    return ".".join(tokens)


def may_make(template: Template, names: Mapping[str, str], subject: str) -> bool:
    """Whether a row may give the template this subject; of one that ends with a dot, any that begins so."""
    made = [""]
    for part in template:
        literal = names[part.name] if isinstance(part, Name) else part
        text = re.escape(literal) if isinstance(literal, str) else "[^.]+"
        first, *others = text.split(r"\.")
        made[-1] += first
        made += others
    wanted = subject.removesuffix(".").split(".")
    has_length = len(made) > len(wanted) if subject.endswith(".") else len(made) == len(wanted)
    return has_length and all(re.fullmatch(pattern, token) for pattern, token in zip(made, wanted, strict=False))


def encode_token(name: str) -> str:
    """`name` as part of a subject's token: what NATS does not allow there is percent-encoded."""
    return _FORBIDDEN.sub(_percent, name)


def encode_header(text: str) -> bytes:
    """A text as a header's value."""
    return _encoder(HEADER, end="")(text)


def _slot(column: str, kind: int, place: Place, *, end: str, rule: str, substitutes: bool) -> Slot:
    encode_text = _encoder(place, end=end)
    limit, fits = place.limit, place.fits

    def encode(cell: Cell) -> bytes:
        if cell is None:
            return NULL
        if isinstance(cell, UnsetType):
            if substitutes:
                return UNSENT
            raise RuleFailed(rule, f"the value of column {column} was not sent")
        encoded = encode_text(event_text(cell, kind)) if cell else EMPTY
        if not fits(encoded):
            if substitutes:
                return TOO_LONG
            raise RuleFailed(rule, f"the value of column {column} takes more than {limit} {unit} there")
        return encoded

    unit = "bytes" if place.sink is None else place.sink.what
    # Those that are encoded are often the same few: names of tenants, of symbols.
    remembered = lru_cache(_REMEMBERED)(encode)

    def encode_or_recall(cell: Cell) -> bytes:
        # A large one has nothing but a substitute that is worth remembering.
        return encode(cell) if isinstance(cell, str) and len(cell) > limit else remembered(cell)

    sink = place.sink
    kept = bytes(
        encode_text(chr(code)) == bytes([code]) and (sink is None or sink.measure(chr(code)) == 1)
        for code in range(128)
    )
    return Slot(
        column,
        end,
        kind in SAME,
        encode_or_recall,
        kept=kept if kind in SAME else b"",
        limit=limit,
        longest_quick=min(QUICK_LENGTH, limit // 4),
    )


def _encoder(place: Place, *, end: str) -> Callable[[str], bytes]:
    forbidden = re.compile(f"[{place.forbidden}{re.escape(end)}]")
    pattern = re.compile(f"^ | $|{forbidden.pattern}") if place.trims else forbidden

    def encode(text: str) -> bytes:
        return pattern.sub(_percent, text).encode()

    return encode


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())
