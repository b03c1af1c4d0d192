"""Picks how events are packed into groups: the compiled functions or their plain-Python twins, as for the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.decoding.choose import IMPL

if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._packing import join, split
else:
    from ditto.formats.pure_packing import join, split

__all__ = ["join", "split"]
