"""What an input has to do to both decoders: the same, and nothing but DecodeError comes out.

An input is a sequence of CopyData messages, each behind its length in 4 bytes.
"""

from __future__ import annotations

import struct

from unit.implementations import IMPLEMENTATIONS, Implementation, comparable, description_of, pass_all

from ditto.config import Types
from ditto.decoding.messages import Extras, Relation
from ditto.errors import DecodeError
from ditto.routing.table_plans import TablePlan
from ditto.routing.type_settings import kinds


def frames(data: bytes) -> list[bytes]:
    """The messages of an input; a length that is too long takes what is left."""
    found = []
    place = 0
    while place + 4 <= len(data):
        (length,) = struct.unpack_from("!I", data, place)
        found.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return found


def described(relation: Relation) -> TablePlan:
    """As if the configuration asked for all that there is."""
    return pass_all(
        relation,
        kinds=OTHER_KINDS,
        primary_key=(relation.name,),
        schema_version="v",
        description=description_of(relation, version=str(len(relation.columns))),
    )


EVERYTHING = Extras(frozenset({"lsn", "xid", "ordinal", "primary_key", "origin", "schema_version"}), marks_last=True)
OTHER_KINDS = kinds(Types(numeric="number", int8="string", json="string", timestamp="utc"))


def outcome(implementation: Implementation, messages: list[bytes], *, is_plain: bool) -> tuple[object, ...]:
    """What the decoder makes of them, or its error."""
    decoder = implementation.decoder() if is_plain else implementation.decoder(described, extras=EVERYTHING)
    try:
        for message in messages:
            decoder.feed(message)
        return comparable(decoder.take())
    except DecodeError as error:
        return (error.message,)


def check(data: bytes) -> None:
    """Raise AssertionError when they differ, with the usual options or with others."""
    messages = frames(data)
    for is_plain in (True, False):
        compiled, plain = (outcome(each, messages, is_plain=is_plain) for each in IMPLEMENTATIONS)
        if compiled != plain:
            raise AssertionError(f"the decoders differ:\n{compiled!r}\n{plain!r}")
