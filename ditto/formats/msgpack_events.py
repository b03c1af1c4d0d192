"""Events to MessagePack: picks the compiled function or its plain-Python twin, as for the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ditto.decoding.choose import IMPL

_ENCODER: Final = msgspec.msgpack.Encoder()


def pure_encode_events(changes: list[Any], layouts: list[Any]) -> tuple[bytearray, list[int]]:
    """The events one after the other, and where each ends, in plain Python. Keys are as quick to encode as to copy."""
    del layouts
    data, ends = bytearray(), list[int]()
    for change in changes:
        _ENCODER.encode_into(change, data, -1)
        ends.append(len(data))
    return data, ends


if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._msgpack_events import encode_events
else:
    encode_events = pure_encode_events

__all__ = ["encode_events", "pure_encode_events"]
