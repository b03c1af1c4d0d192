"""Picks the framing: the compiled one or its plain-Python twin, as `ditto.pgoutput` did for the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto._frames_py import FrameTooLarge
from ditto.pgoutput import IMPL

if TYPE_CHECKING or IMPL == "c":
    from ditto._frames import frame_block, line_ends
else:
    from ditto._frames_py import frame_block, line_ends

__all__ = ["FrameTooLarge", "frame_block", "line_ends"]
