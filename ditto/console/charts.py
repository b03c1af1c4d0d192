"""Charts of the last hour. Colours of text and lines are greys that are seen on light and on dark."""

from __future__ import annotations

import math
from array import array
from typing import Any, Final

from nicegui import ui

from ditto.console.courses import Course, known
from ditto.fleet.status import PipelineSummary

_GREY: Final = "#7d8894"
_LINE: Final = "rgba(125, 136, 148, 0.22)"
_COLOUR: Final = "#3d7fe0"
_NAMES: Final = ("Events/s", "Lag", "Retained WAL")
_NUMBER: Final = """value => value == null ? '\\u2013' :
  Intl.NumberFormat('en', {maximumFractionDigits: 1}).format(value)"""
_SECONDS: Final = """value => value == null ? '\\u2013' : value >= 120 ? (value / 60).toFixed(1) + ' min' :
  value >= 1 || value == 0 ? +value.toFixed(1) + ' s' : Math.round(value * 1000) + ' ms'"""
_BYTES: Final = """value => value == null ? '\\u2013' : value < 1024 ? value + ' B' :
  value < 1048576 ? (value / 1024).toFixed(0) + ' kB' :
  value < 1073741824 ? (value / 1048576).toFixed(0) + ' MB' : (value / 1073741824).toFixed(1) + ' GB'"""


class Charts:
    """The three charts of a pipeline."""

    def __init__(self) -> None:
        self._shown: tuple[int, int] = (0, 0)
        with ui.element("div").classes("charts"):
            self._charts = [_chart(name, text) for name, text in zip(_NAMES, (_NUMBER, _SECONDS, _BYTES), strict=True)]

    def show(self, course: Course, summary: PipelineSummary) -> None:
        """Draw what is known; nothing where that is drawn already."""
        mark = (course.first, len(course.lag_s))
        if mark == self._shown:
            return
        self._shown = mark
        times = course.times()
        columns: tuple[array[float], ...] = (course.events_per_s, course.lag_s, course.retained_bytes)
        for chart, numbers in zip(self._charts, columns, strict=True):
            chart.options["series"][0]["data"] = [list(point) for point in zip(times, known(numbers), strict=True)]
        limit = _limit(summary)
        lines = [] if limit is None else [{"yAxis": limit}]
        self._charts[2].options["series"][0]["markLine"]["data"] = lines
        largest = max((each for each in columns[2] if not math.isnan(each)), default=0.0)
        self._charts[2].options["yAxis"] |= steps(largest if limit is None or largest < limit / 3 else float(limit))
        for chart in self._charts:
            chart.update()


def _limit(summary: PipelineSummary) -> int | None:
    if summary.retained_bytes is None or summary.safe_bytes is None:
        return None
    return max(0, summary.retained_bytes) + max(0, summary.safe_bytes)


def steps(largest: float) -> dict[str, float]:
    """An axis of bytes in powers of two, so that its numbers are round ones."""
    step = 2.0 ** max(8, math.ceil(math.log2(max(1.0, largest) / 4)))
    return {"interval": step, "max": step * max(1, math.ceil(largest / step))}


def _chart(name: str, text: str) -> ui.echart:
    options: dict[str, Any] = {
        "animation": False,
        "title": {"text": name, "textStyle": {"color": _GREY, "fontSize": 13, "fontWeight": 600}, "left": 12, "top": 8},
        "grid": {"left": 12, "right": 18, "top": 42, "bottom": 10, "containLabel": True},
        "xAxis": {
            "type": "time",
            "axisLine": {"lineStyle": {"color": _LINE}},
            "axisLabel": {"color": _GREY, "hideOverlap": True},
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            "splitNumber": 3,
            "minInterval": 0.001 if name == "Lag" else 1,
            "axisLabel": {"color": _GREY, ":formatter": text},
            "splitLine": {"lineStyle": {"color": _LINE}},
        },
        "tooltip": {"trigger": "axis", ":valueFormatter": text, "confine": True},
        "series": [
            {
                "type": "line",
                "name": name,
                "data": [],
                "showSymbol": False,
                "lineStyle": {"width": 1.8, "color": _COLOUR},
                "itemStyle": {"color": _COLOUR},
                "areaStyle": {"color": _COLOUR, "opacity": 0.1},
                "markLine": {
                    "silent": True,
                    "symbol": "none",
                    "data": [],
                    "lineStyle": {"color": "#c02f2f", "type": "dashed"},
                    "label": {"formatter": "limit", "color": _GREY, "position": "insideEndTop"},
                },
            }
        ],
    }
    with ui.element("div").classes("panel").style("padding: 0"):
        return ui.echart(options).props(f'role="img" aria-label="{name} over the last hour"')
