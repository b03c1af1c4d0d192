"""The course of every pipeline over the last hour: a point every ten seconds, in memory."""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ditto.fleet.status import ClusterView, PipelineSummary

STEP_S: Final = 10.0
POINTS: Final = 360
"""An hour."""
_NOTHING: Final = math.nan
"""In place of a number that is not known."""


class Course:
    """The last hour of one pipeline. 4 bytes a number: five hundred pipelines take 3 MB."""

    def __init__(self, first: int) -> None:
        self.first = first
        """The step of the first point, counted from 1970."""
        self.events_per_s = array("f")
        self.lag_s = array("f")
        self.retained_bytes = array("f")

    def add(self, step: int, summary: PipelineSummary) -> None:
        """The point of this step. Steps that were missed have no numbers."""
        for numbers, value in (
            (self.events_per_s, summary.events_per_s),
            (self.lag_s, summary.lag_s),
            (self.retained_bytes, summary.retained_bytes),
        ):
            missed = step - self.first - len(numbers)
            if missed < 0:
                numbers[-1] = _NOTHING if value is None else value
                continue
            numbers.extend([_NOTHING] * min(missed, POINTS))
            numbers.append(_NOTHING if value is None else value)
        over = len(self.lag_s) - POINTS
        if over > 0:
            for numbers in (self.events_per_s, self.lag_s, self.retained_bytes):
                del numbers[:over]
        self.first = step - len(self.lag_s) + 1

    def times(self) -> list[int]:
        """Milliseconds since 1970, one for each point."""
        return [int((self.first + index) * STEP_S * 1000) for index in range(len(self.lag_s))]


class Courses:
    """Those of all pipelines of the fleet, since this node runs."""

    def __init__(self, view: ClusterView, *, now: Callable[[], float] = time.time) -> None:
        self._view = view
        self._now = now
        self._known: dict[str, Course] = {}

    async def keep(self) -> None:
        """Until it is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(STEP_S - self._now() % STEP_S)

    def look(self) -> None:
        """Add a point to each, and forget pipelines that are gone."""
        step = int(self._now() // STEP_S)
        found = self._view.pipelines() if self._view.is_current else []
        for summary in found:
            course = self._known.get(summary.name)
            if course is None or step - course.first >= 2 * POINTS:
                course = self._known[summary.name] = Course(step)
            course.add(step, summary)
        if found:
            names = {each.name for each in found}
            for name in [name for name in self._known if name not in names]:
                del self._known[name]

    def of(self, name: str) -> Course:
        """That of a pipeline; an empty one where nothing is known yet."""
        return self._known.get(name) or Course(int(self._now() // STEP_S))


def total(courses: Iterable[Course]) -> array[float]:
    """Events a second of several pipelines together; a point where none is known stays unknown."""
    numbers = array("f", [_NOTHING]) * POINTS
    for course in courses:
        start = POINTS - len(course.events_per_s)
        for index, value in enumerate(course.events_per_s, start):
            if not math.isnan(value):
                numbers[index] = value if math.isnan(numbers[index]) else numbers[index] + value
    return numbers


def known(numbers: Sequence[float]) -> list[float | None]:
    """The numbers for a chart, with None where there is none."""
    return [None if math.isnan(each) else each for each in numbers]


def spark(numbers: Sequence[float], *, width: int = 90, height: int = 22, most: int = 60) -> str:
    """The last ones as points of an SVG polyline, which begins with the oldest on the left."""
    last = numbers[-most:]
    top = max((each for each in last if not math.isnan(each)), default=0.0) or 1.0
    points = []
    for index, each in enumerate(last):
        if not math.isnan(each):
            x = width - (len(last) - 1 - index) * width / (most - 1)
            points.append(f"{x:.1f},{height - 1 - (height - 2) * each / top:.1f}")
    return " ".join(points)
