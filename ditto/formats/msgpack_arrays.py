"""A MessagePack array as its elements: picks the compiled function or its plain-Python twin, as for the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ditto.decoding.choose import IMPL

# Of a tag's own bytes, by tag: how many follow, and for a length that follows how many bytes that has.
# https://github.com/msgpack/msgpack/blob/master/spec.md#formats
_FIXED: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSIONS: Final = frozenset({0xC7, 0xC8, 0xC9})


def pure_split_array(data: bytes) -> tuple[bytes, list[int]]:
    """The elements one after the other, and where each ends, in plain Python. Raises ValueError for another document.

    The encoder that made it is trusted to have made it well.
    """
    if 0x90 <= data[0] <= 0x9F:
        count, start = data[0] & 0x0F, 1
    elif data[0] in {0xDC, 0xDD}:
        start = 3 if data[0] == 0xDC else 5
        count = int.from_bytes(data[1:start])
    else:
        raise ValueError("no array")
    ends, at = [], start
    for _ in range(count):
        pending = 1
        while pending:
            more, at = _skip(data, at)
            pending += more - 1
        ends.append(at - start)
    if at != len(data):
        raise ValueError("something follows the array")
    return data[start:], ends


def _skip(data: bytes, at: int) -> tuple[int, int]:
    """How many values are in the one that begins here, and where the first of them is, or what follows it."""
    tag = data[at]
    at += 1
    if tag < 0x80 or tag >= 0xE0:
        return 0, at
    if tag < 0xA0:
        return (tag & 0x0F) * (2 if tag < 0x90 else 1), at
    if tag < 0xC0:
        return 0, at + (tag & 0x1F)
    if tag in _FIXED:
        return 0, at + _FIXED[tag]
    if tag in _SIZED:
        end = at + _SIZED[tag]
        return 0, end + int.from_bytes(data[at:end]) + (tag in _EXTENSIONS)
    if tag < 0xDC:
        raise ValueError(f"no MessagePack: tag {tag:#x}")
    end = at + (2 if tag in {0xDC, 0xDE} else 4)
    return int.from_bytes(data[at:end]) * (2 if tag >= 0xDE else 1), end


if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._msgpack_arrays import split_array
else:
    split_array = pure_split_array

__all__ = ["pure_split_array", "split_array"]
