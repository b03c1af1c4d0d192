"""What has happened since the process began, for logs and metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counted over all attempts of one process."""

    attempts: Counter[str] = field(default_factory=Counter)
    """By how they ended: the error's class, or `stopped`."""
    rewinds: int = 0
    """Attempts that began with the slot behind the stream's tail, so that changes came again and were skipped."""
    skipped: int = 0
    """Changes that came again."""
    fenced: int = 0
    """Messages that the stream refused because another one came before: another Ditto, or another writer."""
