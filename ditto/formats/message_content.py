"""What a logical message, or a row of an outbox, carries: body, content type, headers, key and id.

The content of a logical message is its body, unless it is an envelope, which is a JSON object of exactly two members:

    {"ditto": {"headers": {"tenant": "acme"}, "key": "order-1", "id": "7c2f…"}, "payload": {"order": 1}}

Each member of `ditto` may be missing; `payloadBase64` in place of `payload` is a body of bytes.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from ditto.config.header_names import is_possible, is_taken
from ditto.formats import deep_json
from ditto.formats.own_headers import CONTENT_TYPE

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
BYTES: Final = "application/octet-stream"

MAX_HEADERS: Final = 32 << 10
"""Bytes of all lines; nats-server takes 64 KB."""
MAX_ID: Final = 512
MAX_KEY: Final = 4096

_ESCAPED: Final = re.compile(r"^ | $|[\x00-\x1f%\x7f-\U0010ffff]")
_OPENING: Final = re.compile(rb"[ \t\r\n]*[{\[]")
_CONTENT_TYPE: Final = CONTENT_TYPE.lower()
_SPELLED: Final[Mapping[str, str]] = MappingProxyType({_CONTENT_TYPE: CONTENT_TYPE, "traceparent": "traceparent"})
"""Those that take the place of Ditto's own."""
_WHITE_SPACE: Final = " \t\r\n"
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything: Final = msgspec.json.Decoder(msgspec.Raw)


class Unsendable(ValueError):
    """Completes "…, because …", without any value."""


class Content(msgspec.Struct, frozen=True, gc=False):
    """What is sent."""

    body: bytes
    content_type: str
    """Where `headers` has none; empty for nothing."""
    headers: Mapping[str, str] = _NO_HEADERS
    """As they were given: `header_lines` checks and encodes them."""
    key: str | None = None
    id: str | None = None


def read_content(content: bytes) -> Content:
    """What a logical message carries. Raises Unsendable for an envelope that is none."""
    content_type = type_of(content)
    if content_type == JSON and (members := _envelope(content)) is not None:
        return _open(members)
    return Content(content, content_type)


def type_of(body: bytes) -> str:
    """JSON is an object or an array: a number or a word alone is text, which may hold another one the next time."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return BYTES
    if _OPENING.match(body) is not None:
        try:
            _anything.decode(body)
        except (msgspec.MsgspecError, RecursionError):  # nested deeper than msgspec follows: still its text
            return TEXT
        return JSON
    return TEXT


def _envelope(content: bytes) -> dict[str, msgspec.Raw] | None:
    """Its members; None for all other JSON."""
    if b'"ditto"' not in content:
        return None
    try:
        members = _object.decode(content)
    except msgspec.MsgspecError:  # an array
        return None
    is_one = members.keys() in ({"ditto", "payload"}, {"ditto", "payloadBase64"})
    return members if is_one and bytes(members["ditto"]).startswith(b"{") else None


def _open(members: Mapping[str, msgspec.Raw]) -> Content:
    about = _object.decode(members["ditto"])
    if unknown := about.keys() - {"headers", "key", "id"}:
        raise Unsendable(f"the envelope has {len(unknown)} unknown members besides headers, key and id")
    headers = read_headers(bytes(about["headers"])) if "headers" in about else _NO_HEADERS
    key, identifier = (_scalar(about[name], name) if name in about else None for name in ("key", "id"))
    if (payload := members.get("payload")) is not None:
        return Content(bytes(payload), JSON, headers, key, identifier)
    try:
        body = b64decode(msgspec.json.decode(members["payloadBase64"], type=str), validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise Unsendable("the envelope's payloadBase64 is not Base64") from None
    return Content(body, BYTES, headers, key, identifier)


def read_headers(document: bytes) -> dict[str, str]:
    """Headers that are a JSON object; null means that there is none. Raises Unsendable."""
    if document.strip() == b"null":
        return {}
    try:
        members = deep_json.members(document)
    except msgspec.MsgspecError:
        raise Unsendable("the headers are not a JSON object") from None
    values = ((name, _scalar(value, "a header")) for name, value in members.items())
    return {name: value for name, value in values if value is not None}


def _scalar(value: msgspec.Raw, what: str) -> str | None:
    text = bytes(value).decode().strip(_WHITE_SPACE)
    if text.startswith(("{", "[")):
        raise Unsendable(f"the value of {what} is not a text, a number or a boolean")
    if text == "null":
        return None
    return msgspec.json.decode(text, type=str) if text.startswith('"') else text


def header_lines(content: Content) -> bytes:
    """All lines of the headers, the content type first. Raises Unsendable.

    Control characters, `%`, what is not ASCII, and a space at the ends are percent-encoded, so that a value is one line
    and comes back as it was.
    """
    names: set[str] = set()
    lines = []
    for name, value in content.headers.items():
        if not is_possible(name):
            raise Unsendable("a header has a name that no header may have")
        if is_taken(name):
            raise Unsendable("a header has the name of one that Ditto, nats-server or a NATS client uses itself")
        if name.lower() in names:
            raise Unsendable("a header is there twice, in upper and in lower case")
        names.add(name.lower())
        lines.append(f"{_SPELLED.get(name.lower(), name)}: {encode_value(value)}\r\n")
    if _CONTENT_TYPE not in names and content.content_type:
        lines.insert(0, f"{CONTENT_TYPE}: {content.content_type}\r\n")
    found = "".join(lines).encode()
    if len(found) > MAX_HEADERS:
        raise Unsendable(f"the headers take more than {MAX_HEADERS} bytes")
    return found


def encode_value(text: str) -> str:
    """A text as a header's value."""
    return _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def encode_id(text: str) -> str:
    """An id of the application's as a header's value. Raises Unsendable."""
    encoded = encode_value(text)
    if not encoded or len(encoded) > MAX_ID:
        raise Unsendable(f"the id is empty or takes more than {MAX_ID} bytes")
    return encoded


def encode_key(text: str | None) -> bytes | None:
    """A key. Raises Unsendable."""
    if text is None:
        return None
    encoded = text.encode()
    if len(encoded) > MAX_KEY:
        raise Unsendable(f"the key takes more than {MAX_KEY} bytes")
    return encoded
