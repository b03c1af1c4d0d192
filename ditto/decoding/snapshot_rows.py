"""Picks the implementation of a snapshot's rows: the one that goes with the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.decoding.choose import IMPL

if TYPE_CHECKING or IMPL == "c":
    from ditto.decoding._snapshot_rows import Rows
else:
    from ditto.decoding.pure.snapshot_rows import Rows

__all__ = ["Rows"]
