"""What a format is: it makes the payloads that are published from changes."""

from __future__ import annotations

from typing import Any, Protocol

from ditto.formats.payloads import Payloads


class Format(Protocol):
    """Encodes a block at a time: a call for each change would cost more than the encoding."""

    def encode(self, changes: list[Any]) -> Payloads:
        """One payload for each, in their order. Each is a Change or a TableDescription; none is changed."""
