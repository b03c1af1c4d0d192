"""Bar charts as SVG: horizontal bars in groups, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

WIDTH: Final = 760
_LABEL_WIDTH: Final = 150
_VALUE_WIDTH: Final = 120
_BAR: Final = 16
_GAP: Final = 14
TOP: Final = 64
# Told apart without colour vision too; the first is what one compares with.
_COLOURS: Final = ("#8c959f", "#56b4e9", "#0072b2", "#e69f00", "#009e73")
_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}"
    ".axis{stroke:#8c959f;stroke-width:1;fill:none}.spread{stroke:#1f2328;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.spread{stroke:#e6edf3}}"
)


class Bar(NamedTuple):
    """One value; `low` and `high` are drawn as its spread where they differ from it. `text` stands after it."""

    series: str
    value: float
    low: float
    high: float
    text: str


class Group(NamedTuple):
    """Bars under one label."""

    label: str
    bars: Sequence[Bar]


def draw(title: str, groups: Sequence[Group]) -> str:
    """The SVG."""
    colours = coloured(bar.series for group in groups for bar in group.bars)
    largest = max(bar.high for group in groups for bar in group.bars)
    room = WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    height = TOP + sum(_BAR * len(group.bars) + _GAP for group in groups)

    def length(value: float) -> float:
        return round(value / largest * room, 1)

    parts = []
    y = TOP
    for group in groups:
        middle = y + _BAR * len(group.bars) / 2 + 5
        parts.append(f'<text x="{_LABEL_WIDTH - 10}" y="{middle:g}" text-anchor="end">{escape(group.label)}</text>')
        for bar in group.bars:
            parts.append(
                f'<rect x="{_LABEL_WIDTH}" y="{y + 1}" width="{length(bar.value)}" height="{_BAR - 2}" '
                f'fill="{colours[bar.series]}"/>'
            )
            if bar.low < bar.high:
                left, right = _LABEL_WIDTH + length(bar.low), _LABEL_WIDTH + length(bar.high)
                line = y + _BAR / 2
                parts.append(f'<path class="spread" d="M{left:g} {line:g}H{right:g}"/>')
            end = _LABEL_WIDTH + length(max(bar.value, bar.high)) + 6
            parts.append(f'<text x="{end:g}" y="{y + _BAR - 3}">{escape(bar.text)}</text>')
            y += _BAR
        y += _GAP
    parts.append(f'<path class="axis" d="M{_LABEL_WIDTH} {TOP - 4}V{height - _GAP + 4}"/>')
    return framed(title, colours, height, parts)


def coloured(series: Iterable[str]) -> dict[str, str]:
    """A colour for each series, in the order in which they first appear."""
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(dict.fromkeys(series))}


def framed(title: str, colours: Mapping[str, str], height: float, parts: Iterable[str]) -> str:
    """The SVG: title and legend above what `parts` draw from `TOP` on, `WIDTH` wide and `height` high in all."""
    head = [f'<text class="title" x="8" y="22">{escape(title)}</text>']
    x = 8.0
    for name, colour in colours.items():
        head.append(f'<rect x="{x:g}" y="36" width="12" height="12" fill="{colour}"/>')
        head.append(f'<text x="{x + 18:g}" y="47">{escape(name)}</text>')
        x += 40 + 7.2 * len(name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{_STYLE}</style>{"".join([*head, *parts])}</svg>\n'
    )
