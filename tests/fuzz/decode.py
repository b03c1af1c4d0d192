"""Feeds mutated CopyData messages to both decoders: they agree, and nothing but DecodeError comes out.

Coverage comes from the plain-Python decoder, which has the same structure; the compiled one runs beside it, with
AddressSanitizer under `DITTO_SANITIZE=1`. An input is a sequence of messages, each behind its length in 4 bytes.
`scripts/fuzz` runs it; `python tests/fuzz/decode.py FILE` runs one input again.
"""

from __future__ import annotations

import struct
import sys

import atheris

with atheris.instrument_imports(include=["ditto._pgoutput_py", "ditto._cursor_py", "ditto._values_py"]):
    from ditto import _pgoutput_py

from unit.implementations import IMPLEMENTATIONS, Implementation, comparable

from ditto.errors import DecodeError

assert IMPLEMENTATIONS[1].make_decoder is _pgoutput_py.Decoder, "the instrumented one"


def frames(data: bytes) -> list[bytes]:
    """The messages of an input; a length that is too long takes what is left."""
    found = []
    place = 0
    while place + 4 <= len(data):
        (length,) = struct.unpack_from("!I", data, place)
        found.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return found


def outcome(implementation: Implementation, messages: list[bytes]) -> tuple[object, ...]:
    """What the decoder makes of them, or its error."""
    try:
        return comparable(implementation.decode(messages))
    except DecodeError as error:
        return (error.message,)


def test_one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    messages = frames(data)
    compiled, plain = (outcome(implementation, messages) for implementation in IMPLEMENTATIONS)
    if compiled != plain:
        raise AssertionError(f"the decoders differ:\n{compiled!r}\n{plain!r}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
