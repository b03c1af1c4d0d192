"""Picks the framing: the compiled one or its plain-Python twin, as `ditto.pgoutput` did for the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.decoding.implementation import IMPL
from ditto.sinks.jetstream.pure_frames import FrameTooLarge

if TYPE_CHECKING or IMPL == "c":
    from ditto.sinks.jetstream._frames import frame_block, line_ends
else:
    from ditto.sinks.jetstream.pure_frames import frame_block, line_ends

__all__ = ["FrameTooLarge", "frame_block", "line_ends"]
