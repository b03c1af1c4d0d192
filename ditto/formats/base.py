"""What a format is: it makes the payloads that are published from changes."""

from __future__ import annotations

from typing import Protocol

from ditto.decoding.messages import Block
from ditto.formats.payloads import Payloads


class Format(Protocol):
    """Encodes a block at a time: a call for each change would cost more than the encoding."""

    def encode(self, block: Block) -> Payloads:
        """One payload for each of the block's changes, in their order; none is changed.

        A format that says something in headers puts them into `block.headers`.
        """
