"""Cuts the captured messages into inputs of one transaction each, with the relations that it needs."""

from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path

from unit import wire
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


def by_hand() -> list[bytes]:
    """What the captures lack: hstore, arrays of other types, JSON's null, an origin."""
    table = wire.relation(
        1,
        "t",
        [wire.Column("id", wire.INT4, is_key=True), *(wire.Column(f"c{oid}", oid) for oid in (20000, 20001, 20002))],
    )
    json_table = wire.relation(
        2, "j", [wire.Column("j", wire.JSONB, is_key=True), wire.Column("a", 3807)], identity="f"
    )
    messages = [
        wire.begin(100),
        wire.origin("elsewhere"),
        wire.type_(20000, "public", "hstore"),
        wire.type_(20001, "public", "_hstore"),
        wire.type_(20002, "public", "_mood"),
        table,
        wire.insert(1, ["1", r'"a"=>"1", "b\"\\"=>NULL', r'{"\"a\"=>\"1\"",NULL}', '{sad,"o k"}']),
        json_table,
        wire.insert(2, ["null", '{1,"null"}']),
        wire.update(2, ['{"a": 1}', "[0:1]={1,2}"], old=[" null", None]),
        wire.commit(100),
    ]
    return [b"".join(struct.pack("!I", len(each)) + each for each in messages)]


def main(folder: Path) -> None:
    """Write each input to a file that is named after its content."""
    captured = [
        data for major in (MAJORS[0], MAJORS[-1]) for name in ("changes", "types") for data in inputs(major, name)
    ]
    for data in captured + by_hand():
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
