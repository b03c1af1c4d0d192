"""Picks the implementation of a snapshot's rows, as `choose` picks the decoder."""

from __future__ import annotations

from ditto.decoding.pure.snapshot_rows import Rows

__all__ = ["Rows"]
