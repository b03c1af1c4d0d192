"""How a process that streams uses memory: when Python looks for garbage, and what malloc gives back."""

from __future__ import annotations

import gc
from typing import Final

COLLECT_AFTER: Final = 50_000
"""So many more containers than before make the garbage collector look. Events die by reference counting, block by
block: at the default each block set off a collection, a tenth of the CPU time of wide rows."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 16 << 20
_LARGE_BYTES: Final = 4 << 20


def tune() -> None:
    """Never look for garbage at what was imported; keep up to 16 MiB of memory that is free.

    glibc gives back what is free at the end of its heap from a few hundred kilobytes on, and takes it again for the
    next block: with this a snapshot, whose blocks have half a megabyte, took 0.92 of the CPU time, at the same peak.
    Other C libraries have no such call, or one that does nothing.
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    import ctypes  # noqa: PLC0415  2 ms, which no command has to wait for

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
