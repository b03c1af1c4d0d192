"""Cuts the captured messages into inputs of one transaction each, with the relations that it needs."""

from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path

from unit.captured import MAJORS, frames

HEADER = 25  # of a CopyData message that carries WAL
LONGEST = 3000


def inputs(major: str, name: str) -> list[bytes]:
    """One for each transaction of the capture."""
    relations: dict[bytes, bytes] = {}
    found: list[bytes] = []
    transaction: list[bytes] = []
    for frame in frames(major, name):
        if frame[:1] != b"w":
            continue
        kind = frame[HEADER : HEADER + 1]
        if kind == b"R":
            relations[frame[HEADER + 1 : HEADER + 5]] = frame
        if kind == b"B":
            transaction = [frame]
        elif kind in b"IUD":
            relation = relations[frame[HEADER + 1 : HEADER + 5]]
            transaction += [frame] if relation in transaction else [relation, frame]
        else:
            transaction.append(frame)
        if kind == b"C":
            found.append(b"".join(struct.pack("!I", len(each)) + each for each in transaction))
    return [data for data in found if len(data) <= LONGEST]


def main(folder: Path) -> None:
    """Write each input to a file that is named after its content."""
    for major in (MAJORS[0], MAJORS[-1]):
        for name in ("changes", "types"):
            for data in inputs(major, name):
                (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
