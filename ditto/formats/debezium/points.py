"""Points as Debezium has them: `io.debezium.data.geometry.Point`."""

from __future__ import annotations

import struct
from typing import Any, Final

from ditto.formats.debezium.numbers import base64, number_of

_WKB: Final = struct.Struct("<BIdd")
"""Well-known binary of a point: little-endian, the type 1, x and y."""


def point(text: str) -> dict[str, Any]:
    """`(1,2)`."""
    x, y = text[1:-1].split(",")
    return {"x": number_of(x), "y": number_of(y), "wkb": base64(_WKB.pack(1, 1, float(x), float(y))), "srid": None}
