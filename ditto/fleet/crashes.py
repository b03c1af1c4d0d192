"""Errors that nobody expected: a mistake in Ditto. They are told of, and a few in a row are enough."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ditto.errors import PipelineCrashed

_FRAMES: Final = 8
_MOST: Final = 5
_STEADY_S: Final = 60.0


def where(error: BaseException) -> list[str]:
    """The last places in the code, for the log; not the error's text, which may quote a row or a password."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames]


def pipeline_crashed(error: BaseException) -> PipelineCrashed:
    """What is said of a pipeline that it has ended."""
    return PipelineCrashed(
        f"an unexpected {type(error).__name__} ended the pipeline",
        hint="please report it, with the line pipeline.crashed in the node's log; ditto pipelines resume starts the "
        "pipeline again",
    )


class Crashes:
    """Those in a row: one that comes a minute after the one before is the first again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_at = 0.0
        self.count = 0

    def note(self) -> None:
        """One more."""
        now = self._clock()
        self.count = self.count + 1 if self.count and now - self._last_at < _STEADY_S else 1
        self._last_at = now

    @property
    def are_too_many(self) -> bool:
        """Whether trying again is no use."""
        return self.count > _MOST
