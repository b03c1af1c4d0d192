"""How long a reader waits before it connects again: it is a command's, and no part of a session."""

from __future__ import annotations

from typing import Final

_FIRST_S: Final = 0.5
_CAP_S: Final = 10.0
_STEPS: Final = 10  # beyond the cap; an outage of hours must not overflow


def retry_delay_s(failures: int) -> float:
    """After so many failures in a row: doubling up to a cap."""
    return min(_CAP_S, _FIRST_S * 2.0 ** min(failures, _STEPS))
