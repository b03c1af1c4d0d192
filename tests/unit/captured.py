"""What PostgreSQL itself sent, as scripts/capture-pgoutput recorded it."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

DATA = Path(__file__).parents[1] / "data"
MAJORS = ("14", "15", "16", "17", "18")


@cache
def frames(major: str, name: str) -> tuple[bytes, ...]:
    """The CopyData messages of `tests/data/NAME.sql` on this major version."""
    data = (DATA / f"pg{major}-{name}.bin").read_bytes()
    found = []
    pos = 0
    while pos < len(data):
        (length,) = struct.unpack_from("!I", data, pos)
        found.append(data[pos + 4 : pos + 4 + length])
        pos += 4 + length
    return tuple(found)


def rows(major: str, name: str) -> dict[str, list[dict[str, Any]]]:
    """What the tables held in the end, by name."""
    decoded: dict[str, list[dict[str, Any]]] = msgspec.json.decode((DATA / f"pg{major}-{name}.json").read_bytes())
    return decoded
