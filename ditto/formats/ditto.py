"""The default format: one JSON object a change."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ditto.decoding.messages import Block
from ditto.decoding.written_rows import WrittenRows
from ditto.formats.line_ends import line_ends
from ditto.formats.payloads import Payloads

_ENCODER: Final = msgspec.json.Encoder()


class DittoFormat:
    """A format (see `base.Format`): keys in the change's order, without white space of its own."""

    def encode(self, block: Block) -> Payloads:
        """See `base.Format`."""
        if isinstance(block.changes, WrittenRows):
            return Payloads(block.changes.data, block.changes.ends, 1)
        return encode_lines(block.changes)


def encode_lines(changes: list[Any]) -> Payloads:
    """Each as JSON, all with one call: a call for each change costs a third more."""
    data = _ENCODER.encode_lines(changes)
    ends = line_ends(data)
    # JSON escapes newlines; a column of type `json` is embedded unchanged, and may have some between its tokens.
    return Payloads(data, ends, 1) if len(ends) == len(changes) else _encode_one_by_one(changes)


def _encode_one_by_one(changes: list[Any]) -> Payloads:
    data = bytearray()
    ends = []
    for change in changes:
        _ENCODER.encode_into(change, data, -1)
        ends.append(len(data))
        data += b"\n"
    return Payloads(data, ends, 1)
