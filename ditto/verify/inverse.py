"""The way back: an event's value as the text that PostgreSQL reads. docs/events.md states the rules in words.

    row = members(event.data)
    text = input_text(row["price"], form("numeric"))    # None is NULL

A text goes back through its type's input function, as in `$1::text::numeric`. Of a column only its form has to be
known: whether the event embeds JSON there, and whether it is `bytea` or an array of `box`.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from ditto.config import Types
from ditto.formats import deep_json

if TYPE_CHECKING:
    from collections.abc import Iterable

_WHITE_SPACE: Final = b" \t\r\n"
_OCTAL: Final = re.compile(r"\\[0-3][0-7]{2}")
_DEFAULT: Final = Types()

_pairs = msgspec.json.Decoder(dict[str, str | None])
_string = msgspec.json.Decoder(str)


class Form(Enum):
    """The facts about a column that are needed to read its values."""

    PLAIN = "anything else"
    JSON = "json or jsonb that is embedded"
    JSON_ARRAY = "an array of these"
    BYTEA = "bytea, or an array of it"
    BOX_ARRAY = "an array of box"


def form(type_name: str, types: Types = _DEFAULT) -> Form:
    """The form of a column under the options `events.types`.

    `type_name` is as the schema messages have it: `jsonb`, `bytea[]`, `public.mood`, and a domain's base type.
    """
    element = type_name.removesuffix("[]")
    is_array = element != type_name
    if element in {"json", "jsonb"} and _is_embedded(element, types):
        return Form.JSON_ARRAY if is_array else Form.JSON
    if element == "bytea":
        return Form.BYTEA
    return Form.BOX_ARRAY if type_name == "box[]" else Form.PLAIN


def _is_embedded(name: str, types: Types) -> bool:
    if types.json is None:
        return types.profile == "ditto" or name == "jsonb"
    return types.json == "embed"


def members(row: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The columns of an event's `data` or `dataOld`, each as its JSON text.

    With the white space around it: Ditto writes none, so it belongs to a value of type json, which keeps its own. A
    row that another program has rewritten has none.
    """
    row = bytes(row)
    values = deep_json.members(row)
    if msgspec.json.encode(values) == row:
        return values
    start = 1
    exact = deep_json.members(row, is_exact=True)
    for name, value in exact.items():
        key = msgspec.json.encode(name) + b":"
        if not row.startswith(key, start):
            return values
        start += len(key) + len(bytes(value)) + 1
    return exact


def input_text(value: bytes | msgspec.Raw, form: Form = Form.PLAIN, *, is_json_null: bool = False) -> str | None:
    """The text of a value, given as the JSON of the event; None for NULL.

    `is_json_null`: the event's field `jsonNull` (for an old row, `jsonNullOld`) names the column.
    Raises msgspec.DecodeError for what is not JSON.
    """
    value = bytes(value)
    if value.strip(_WHITE_SPACE) == b"null" and not is_json_null:
        return None
    if form is Form.JSON:
        return value.decode()
    match value[:1]:
        case b'"':
            text = _string.decode(value)
            return _as_hex(text) if form is Form.BYTEA else text
        case b"[":
            return _array(value, form)
        case b"{":
            return ", ".join(f"{_quote(key)}=>{_quote(text)}" for key, text in _pairs.decode(value).items())
    return value.decode()  # true, false, and each digit of a number


def char_number(text: str) -> int:
    r"""The number of a value of type "char", from -128 to 127, given as its text.

    `$1::int4::"char"` reads it in every version: `\\310` itself is read as that byte from PostgreSQL 15 on only.
    """
    if _OCTAL.fullmatch(text):
        number = int(text[1:], 8)
        return number - 256 if number > 127 else number
    return ord(text) if text else 0


def _array(value: bytes, form: Form) -> str:
    element = Form.JSON if form is Form.JSON_ARRAY else form
    parts: Iterable[str]
    if element is Form.JSON:
        parts = (_quote(input_text(item, element)) for item in deep_json.elements(value, is_exact=True))
    else:
        items = (bytes(item) for item in deep_json.elements(value))
        parts = (_array(item, form) if item[:1] == b"[" else _quote(input_text(item, element)) for item in items)
    return "{" + (";" if form is Form.BOX_ARRAY else ",").join(parts) + "}"


def _quote(text: str | None) -> str:
    """As array and hstore literals have it."""
    return "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _as_hex(text: str) -> str:
    r"""Base64 as `\xdeadbeef`. PostgreSQL's own text is no base64: it begins with a backslash or a bracket."""
    try:
        return "\\x" + base64.b64decode(text, validate=True).hex()
    except binascii.Error:
        return text
