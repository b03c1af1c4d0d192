"""How many pipelines share this process: where there are many, looks at servers that can wait come less often.

A pipeline that has nothing to do costs what it looks at: half a dozen queries every few seconds. A process with one
pipeline, or with a few, is not concerned.
"""

from __future__ import annotations

from typing import Final

_FEW: Final = 20
_LONGEST_S: Final = 60.0

_size = 1


def set_size(pipelines: int) -> None:
    """There are so many by now."""
    global _size  # noqa: PLW0603  there is one process
    _size = pipelines


def is_large() -> bool:
    """Whether looks come less often."""
    return _size > _FEW


def stretched(period_s: float) -> float:
    """The period of a look that comes every `period_s` seconds where there are few: at most a minute."""
    return min(max(_LONGEST_S, period_s), period_s * max(1.0, _size / _FEW))
