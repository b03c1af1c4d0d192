"""The literals of CEL: https://github.com/google/cel-spec/blob/master/doc/langdef.md#values."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

_SIMPLE: Final = MappingProxyType(
    {
        "a": "\a",
        "b": "\b",
        "f": "\f",
        "n": "\n",
        "r": "\r",
        "t": "\t",
        "v": "\v",
        '"': '"',
        "'": "'",
        "`": "`",
        "?": "?",
        "\\": "\\",
    }
)
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\"'`?\\])|([0-3][0-7]{2})|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.DOTALL
)


class BadLiteral(Exception):
    """No such literal; `offset` is the place in it."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def text_or_bytes(source: str) -> str | bytes:
    """The value of a string or bytes literal, with its prefixes and quotes. Raises BadLiteral."""
    start = 0
    is_raw = is_bytes = False
    while source[start] not in "\"'":
        is_raw = is_raw or source[start] in "rR"
        is_bytes = is_bytes or source[start] in "bB"
        start += 1
    quote = source[start : start + 3] if source[start : start + 3] in {'"""', "'''"} else source[start]
    start += len(quote)
    content = source[start : len(source) - len(quote)]
    if is_raw:
        if content.endswith("\\"):
            raise BadLiteral("a raw text does not end with a backslash", 0)
        return content.encode() if is_bytes else content
    parts: list[bytes] = []
    at = 0
    for match in _ESCAPE.finditer(content):
        parts.extend((content[at : match.start()].encode(), _unescaped(match, start, is_bytes=is_bytes)))
        at = match.end()
    parts.append(content[at:].encode())
    value = b"".join(parts)
    return value if is_bytes else value.decode()


def _unescaped(match: re.Match[str], start: int, *, is_bytes: bool) -> bytes:
    """UTF-8 of what an escape stands for; of a number in bytes, the byte."""
    simple, octal, hexadecimal, short, long, other = match.groups()
    if simple is not None:
        return _SIMPLE[simple].encode()
    if other is not None:
        raise BadLiteral(f"\\{other} is no escape of CEL", start + match.start())
    code = int(octal, 8) if octal is not None else int(hexadecimal or short or long, 16)
    if is_bytes:
        if short is not None or long is not None:
            raise BadLiteral("bytes have no \\u and \\U", start + match.start())
        return bytes([code])
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        raise BadLiteral("no such Unicode character", start + match.start())
    return chr(code).encode()
