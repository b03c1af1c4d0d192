"""What has happened since the process began, for logs and metrics."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counted over all attempts of one process."""

    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells this process from others."""
    attempts: Counter[str] = field(default_factory=Counter)
    """By how they ended: the error's class, or `stopped`."""
    rewinds: int = 0
    """Attempts that began with the slot behind the stream's tail, so that changes came again and were skipped."""
    skipped: int = 0
    """Changes that came again."""
    fenced: int = 0
    """Messages that the stream refused because another one came before: another Ditto, or another writer."""
    ended_holders: int = 0
    """Walsenders that were ended because the one that they served was dead or cut off."""
    is_without_lease: bool = False
    """The lease cannot be written or read at the moment, and that was said."""
    has_told_transport: bool = False
    """That the connection to PostgreSQL is not verified, or not encrypted, was said."""
