"""What is in a message of the stream."""

from __future__ import annotations

import json
from typing import Any


def events_in(data: bytes) -> list[dict[str, Any]]:
    """One event, or with `events.group` those of a transaction: an array, or one a line."""
    if data.startswith(b"["):
        return list(json.loads(data))
    lines = data.splitlines() if data.endswith(b"\n") else [data]
    return [json.loads(line) for line in lines]
