"""Lines over a logarithmic x axis as SVG: how a cost grows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from benchmarks.chart import TOP, WIDTH, coloured, framed

_LEFT: Final = 60
_RIGHT: Final = 30
_PLOT_HEIGHT: Final = 200
_BOTTOM: Final = TOP + _PLOT_HEIGHT
_HEIGHT: Final = _BOTTOM + 34
_TICKS: Final = 5


class Point(NamedTuple):
    """`x` is above 0; `low` and `high` are drawn as the spread of `y` where they differ from it."""

    x: float
    y: float
    low: float
    high: float


class Line(NamedTuple):
    """Points of one series, from the smallest x to the largest."""

    series: str
    points: Sequence[Point]


def draw(title: str, lines: Sequence[Line]) -> str:
    """The SVG; y begins at 0."""
    colours = coloured(line.series for line in lines)
    points = [point for line in lines for point in line.points]
    first, last = (math.log10(pick(point.x for point in points)) for pick in (min, max))
    step = _round_step(max(point.high for point in points) / _TICKS)
    top = step * math.ceil(max(point.high for point in points) / step)

    def at_x(value: float) -> float:
        share = (math.log10(value) - first) / ((last - first) or 1)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def at_y(value: float) -> float:
        return round(_BOTTOM - value / top * _PLOT_HEIGHT, 1)

    def parts() -> Iterator[str]:
        yield f'<path class="axis" d="M{_LEFT} {TOP}V{_BOTTOM}H{WIDTH - _RIGHT}"/>'
        for number in range(round(top / step) + 1):
            y = at_y(number * step)
            yield f'<text x="{_LEFT - 8}" y="{y + 4:g}" text-anchor="end">{number * step:g}</text>'
        for power in range(math.ceil(first), math.floor(last) + 1):
            yield f'<text x="{at_x(10**power):g}" y="{_BOTTOM + 20}" text-anchor="middle">{10**power:,}</text>'
        for line in lines:
            colour = colours[line.series]
            path = "L".join(f"{at_x(point.x):g} {at_y(point.y):g}" for point in line.points)
            yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            for point in line.points:
                x = at_x(point.x)
                if point.low < point.high:
                    yield f'<path d="M{x:g} {at_y(point.low):g}V{at_y(point.high):g}" stroke="{colour}"/>'
                hint = escape(f"{line.series}, {point.x:,}: {point.y:.2f}")
                yield f'<circle cx="{x:g}" cy="{at_y(point.y):g}" r="4" fill="{colour}"><title>{hint}</title></circle>'

    return framed(title, colours, _HEIGHT, parts())


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... (or 0.5, 0.2, ...) that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
