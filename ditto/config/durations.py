"""What is impossible for a duration."""

from __future__ import annotations

from ditto.config.impossible import Impossible


def check_positive(value: float) -> float:
    """Raises Impossible."""
    if value <= 0:
        raise Impossible("must be longer than 0")
    return value


def check_not_negative(value: float) -> float:
    """Raises Impossible."""
    if value < 0:
        raise Impossible("must not be negative")
    return value
