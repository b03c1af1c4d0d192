"""Reads events and rows whose values are nested as deeply as PostgreSQL stores them.

msgspec follows each level of a document with a call of its own, also of one that is only passed over, and gives up
(RecursionError) after about a thousand; PostgreSQL stores several thousand, and more with a larger max_stack_depth.
What is too deep for msgspec is split at its outermost level here, without recursion: slower, and needed for such alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T", bound=msgspec.Struct)

Row = dict[str, msgspec.Raw]

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)
_MEMBER: Final = re.compile(rb'\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*+:', re.DOTALL)
_WHITE_SPACE: Final = b" \t\r\n"

_row = msgspec.json.Decoder(Row)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_name = msgspec.json.Decoder(str)


def decode(document: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """What the decoder of a struct makes of a document. Fields of type Raw, and Rows, may be of any depth.

    Raises msgspec.MsgspecError for what is not such a struct, whatever is wrong with it.
    """
    try:
        return decoder.decode(document)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("text that is not UTF-8") from error
    except RecursionError:
        pass
    fields = {field.encode_name: field for field in msgspec.structs.fields(decoder.type)}
    given: dict[str, Any] = {}
    try:
        for name, value in members(document).items():
            if name in fields:
                given[fields[name].name] = _as(fields[name].type, value)
        return decoder.type(**given)
    except (RecursionError, TypeError, UnicodeDecodeError) as error:
        raise msgspec.ValidationError("nested too deeply, or incomplete") from error


def _as(wanted: Any, value: msgspec.Raw) -> Any:
    if wanted is msgspec.Raw:
        return value
    return members(value) if wanted == Row else msgspec.json.decode(value, type=wanted)


def members(document: bytes | msgspec.Raw, *, is_exact: bool = False) -> Row:
    """The members of an object, each unchanged; with `is_exact` with the white space around it.

    Raises msgspec.DecodeError.
    """
    document = bytes(document)
    if not is_exact:
        try:
            return _row.decode(document)
        except RecursionError:
            pass
    row = {}
    for part in _parts(document, b"{}"):
        match = _MEMBER.match(part)
        if match is None:
            raise msgspec.DecodeError("an object with a member that has no name")
        row[_name.decode(match[1])] = _raw(part[match.end() :], is_exact=is_exact)
    return row


def elements(document: bytes | msgspec.Raw, *, is_exact: bool = False) -> list[msgspec.Raw]:
    """The elements of a list, as `members` has them."""
    document = bytes(document)
    if not is_exact:
        try:
            return _list.decode(document)
        except RecursionError:
            pass
    return [_raw(part, is_exact=is_exact) for part in _parts(document, b"[]")]


def _raw(text: bytes, *, is_exact: bool) -> msgspec.Raw:
    value = text.strip(_WHITE_SPACE)
    if not value:
        raise msgspec.DecodeError("a value is missing")
    return msgspec.Raw(text if is_exact else value)


def _parts(document: bytes, brackets: bytes) -> Iterator[bytes]:
    """The text between the outermost brackets and commas."""
    document = document.strip(_WHITE_SPACE)
    if document[:1] != brackets[:1] or document[-1:] != brackets[1:]:
        raise msgspec.DecodeError(f"no {brackets.decode()}")
    depth = start = 0
    for token in _TOKEN.finditer(document):
        sign = token[0]
        if sign in b"[{":
            depth += 1
            if depth == 1:
                start = token.end()
        elif sign in b"]}":
            depth -= 1
            if depth == 0 and token.end() != len(document):
                raise msgspec.DecodeError("something follows the document")
            if depth == 0 and (part := document[start:-1]).strip(_WHITE_SPACE):
                yield part
        elif sign == b"," and depth == 1:
            yield document[start : token.start()]
            start = token.end()
    if depth:
        raise msgspec.DecodeError("the document is not complete")
