"""The key of a message, as a header: JetStream has no keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ditto.routing.templates import encode_header

KEY_HEADER: Final = "Ditto-Key"
"""Its value is percent-encoded where it is not printable ASCII, at its ends where there is a space, and so is %."""

_NAME: Final = KEY_HEADER.encode()


def with_keys(headers: Sequence[bytes] | None, keys: Sequence[bytes | None]) -> list[bytes]:
    """The messages' own header lines, with one more for each key."""
    own = [b""] * len(keys) if headers is None else headers
    return [
        lines if key is None else b"%b%b: %b\r\n" % (lines, _NAME, _encoded(key))
        for lines, key in zip(own, keys, strict=True)
    ]


def _encoded(key: bytes) -> bytes:
    return key if key.isalnum() else encode_header(key.decode())
