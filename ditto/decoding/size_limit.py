"""Whether a change can fit into a message at all: looked into only for large ones, by both decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ditto.decoding.column_kinds import BOOL, BYTEA, CALL, CHAR, ELEMENT, FLOAT, INT, JSON, SKIP, TEXT
from ditto.decoding.messages import ChangeTooLarge
from ditto.decoding.pure.cursor import Cursor
from ditto.errors import DecodeError

_AT_LEAST_ITS_TEXT: Final = frozenset({TEXT, CHAR, BOOL, INT, FLOAT})


def least_size(kind: int, size: int) -> int:
    r"""At least so many bytes of JSON become of a value whose text has `size` bytes.

    JSON escapes all that array and hstore literals escape, and adds quotes. What gets shorter: hexadecimal digits that
    become base64; documents and literals within an array, which lose their own quotes and half of what is escaped in
    them (`"\"\"",` becomes `"",`); hstore's `=>` and `, `; and `+00`.
    """
    if kind in {SKIP, CALL}:
        return 0
    if kind == BYTEA:
        return size * 2 // 3 - 2
    if kind == JSON:
        return size
    if kind & ELEMENT in _AT_LEAST_ITS_TEXT:
        return size
    return size // 3 - 2


def check_size(
    change: bytes | memoryview, names: Sequence[str], kinds: Sequence[int], keys: Sequence[int], *, limit: int
) -> None:
    """Raise ChangeTooLarge where a change's values take more than `limit` bytes of JSON, whatever is in them.

    `change` is an Insert, Update or Delete after the relation's OID; `names`, `kinds` and `keys` (whether it is part of
    the replica identity) are those of the columns. What is not to be decoded is left to the decoder.
    """
    sizes = [0] * len(names)
    cursor = Cursor(change)
    try:
        while cursor.pos < cursor.end:
            is_key_only = cursor.u8() == 0x4B  # K: the columns that are not part of the key are not looked at
            for index in range(cursor.u16()):
                if cursor.u8() != 0x74:  # t: nothing else has text
                    continue
                size = len(cursor.take(cursor.u32()))
                if keys[index] or not is_key_only:
                    sizes[index] += max(least_size(kinds[index], size), 0)
    except (DecodeError, IndexError):
        return
    if sum(sizes) > limit:
        raise ChangeTooLarge(sum(sizes), names[sizes.index(max(sizes))])
