"""Where the lines of a buffer end: picks the compiled function or its plain-Python twin, as for the decoder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ditto.decoding.choose import IMPL

_NEWLINE: Final = re.compile(rb"\n")


def pure_line_ends(data: bytes | bytearray) -> list[int]:
    """Where the newlines are in `data`, in plain Python."""
    return [match.start() for match in _NEWLINE.finditer(data)]


if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._lines import line_ends
else:
    line_ends = pure_line_ends

__all__ = ["line_ends", "pure_line_ends"]
