"""Picks the framing: the compiled one or its plain-Python twin, as `decoding.choose` does for the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.decoding.choose import IMPL
from ditto.sinks.jetstream.pure_frames import FrameTooLarge

if TYPE_CHECKING or IMPL == "c":
    from ditto.sinks.jetstream._frames import frame_block
else:
    from ditto.sinks.jetstream.pure_frames import frame_block

__all__ = ["FrameTooLarge", "frame_block"]
