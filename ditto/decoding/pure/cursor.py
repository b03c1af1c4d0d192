"""The cursor of the plain-Python decoder, as `_cursor.pxd` is the compiled one's. Nothing else moves the position."""

from __future__ import annotations

from struct import Struct
from typing import Final

from ditto.errors import DecodeError

_U16: Final = Struct("!H")
_U32: Final = Struct("!I")
_I32: Final = Struct("!i")
_U64: Final = Struct("!Q")
_I64: Final = Struct("!q")


class Cursor:
    """Reads a message from its start to its end; whatever does not fit is a DecodeError."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes | memoryview, pos: int = 0) -> None:
        self.data: bytes = data  # type: ignore[assignment]  # of a memoryview no string is taken
        self.pos = pos
        self.end = len(data)

    def take(self, n: int) -> bytes:
        start = self.pos
        if n < 0 or n > self.end - start:
            raise DecodeError(f"need {n} bytes, {self.end - start} left")
        self.pos = start + n
        return self.data[start : start + n]

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def i32(self) -> int:
        return int(_I32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def i64(self) -> int:
        return int(_I64.unpack(self.take(8))[0])

    def string(self) -> str:
        stop = self.data.find(b"\0", self.pos, self.end)
        if stop < 0:
            raise DecodeError("a string has no end")
        text = self.take(stop - self.pos).decode()
        self.pos += 1
        return text

    def finish(self) -> None:
        if self.pos != self.end:
            raise DecodeError(f"{self.end - self.pos} bytes too many")
