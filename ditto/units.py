"""Numbers as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_LONGEST: Final = 999.5
"""From here on three digits do not show the number any more."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 table`, `2 tables`, `1,000 tables`; `many` where the plural is not with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size(size_bytes: float) -> str:
    """Bytes with three digits, in powers of 1024 like PostgreSQL's and NATS's own settings."""
    value = float(size_bytes)
    unit = _UNITS[0]
    for unit in _UNITS:
        if abs(value) < _LONGEST or unit == _UNITS[-1]:
            break
        value /= 1024
    if unit == _UNITS[0]:
        return counted(round(value), "byte")
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def span(seconds: float) -> str:
    """A duration: the largest unit of which there are two or more."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    if seconds >= 1 or not seconds:
        return f"{seconds:.3g} s"
    return f"{seconds * 1000:.3g} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} µs"
