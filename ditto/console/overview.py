"""The first page: all pipelines, with search, a filter by state, and an order."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from nicegui import ui

from ditto.console import words
from ditto.console.courses import spark
from ditto.console.frame import frame
from ditto.console.pipelines_table import PipelinesTable
from ditto.console.visit import Visit
from ditto.fleet.status import PipelineSummary

_MANY: Final = 200
_ORDERS: Final = {
    "rank": "Trouble first",
    "name": "Name",
    "lag": "Lag",
    "rate": "Events/s",
    "retained": "Retained WAL",
    "node": "Node",
}
_DESCENDING: Final = frozenset({"lag", "rate", "retained"})


def overview(visit: Visit) -> None:
    """Build the page."""
    with frame(visit, "Pipelines", "/"):
        _Overview(visit)


class _Overview:
    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._state = ""
        self._shown: list[dict[str, Any]] | None = None
        with ui.element("div").classes("row-line"):
            ui.html("<h1 class='title'>Pipelines</h1>", sanitize=False)
            self._sum = ui.label().classes("muted grow")
            if visit.may("admin"):
                ui.button("New pipeline", icon="add", on_click=lambda: ui.navigate.to("/new")).props(
                    "unelevated no-caps color=primary"
                )
        with ui.element("div").classes("row-line"):
            self._search = (
                ui.input(placeholder="Search by name, node, sink, error", on_change=self.look)
                .props('outlined dense clearable type=search aria-label="Search" debounce=150')
                .classes("grow search")
            )
            self._order = (
                ui.select(_ORDERS, value="rank", on_change=self._sort)
                .props('outlined dense options-dense aria-label="Order"')
                .style("min-width: 9.5rem")
            )
        self._filter_bar = ui.element("div").classes("filters").props('role="group" aria-label="Filter by state"')
        self._filters: dict[str, _Filter] = {}
        self._table = PipelinesTable()
        self._table.on("open", lambda event: ui.navigate.to(f"/pipelines/{quote(event.args, safe='')}"))
        self._empty = ui.element("div").classes("panel")
        with self._empty:
            ui.label("There is no pipeline yet.")
            if visit.may("admin"):
                ui.label("A pipeline follows one replication slot of PostgreSQL. Create the first from a template.")
                ui.button("New pipeline", on_click=lambda: ui.navigate.to("/new")).props("outline no-caps").classes(
                    "self-start"
                )
        self._ticks = 0
        visit.often(self._tick)

    def _tick(self) -> None:
        """Less often where there is much to show."""
        self._ticks += 1
        if self._shown is None or len(self._shown) <= _MANY or self._ticks % 4 == 0:
            self.look()

    def look(self) -> None:
        """Show what is known now."""
        found = self._visit.fleet.view.pipelines()
        self._empty.set_visibility(not found and not self._visit.fleet.is_starting())
        self._table.set_visibility(bool(found))
        self._filter_bar.set_visibility(bool(found))
        self._show_sum(found)
        self._show_filters(found)
        text = (self._search.value or "").strip().lower()
        rows = [
            row
            for each in found
            if (not self._state or each.state == self._state)
            and (not text or text in _searched(each))
            and (row := self._row(each))
        ]
        rows.sort(key=lambda row: (row["rank"], row["name"]))
        if rows != self._shown:
            self._shown = rows
            self._table.show(rows)

    def _show_sum(self, found: list[PipelineSummary]) -> None:
        rate = sum(each.events_per_s or 0.0 for each in found)
        lags = [each.lag_s for each in found if each.lag_s is not None]
        text = f"{words.rate(rate)} events/s, largest lag {words.lag(max(lags, default=None))}" if found else ""
        if self._sum.text != text:
            self._sum.set_text(text)

    def _show_filters(self, found: list[PipelineSummary]) -> None:
        """Each button stays where it is while its number changes: somebody may be about to press it."""
        counts = {"": len(found), **Counter(each.state for each in found)}
        for state in sorted({*counts, *self._filters, self._state}, key=_filter_rank):
            if state not in self._filters:
                with self._filter_bar:
                    self._filters[state] = _Filter(state, self._choose)
        for place, state in enumerate(sorted(self._filters, key=_filter_rank)):
            is_chosen = state == self._state
            self._filters[state].show(
                counts.get(state, 0), place, is_chosen=is_chosen, is_there=not state or state in counts or is_chosen
            )

    def _choose(self, state: str) -> None:
        self._state = "" if state == self._state else state
        self.look()

    def _sort(self) -> None:
        order = str(self._order.value)
        self._table.sort(order, is_descending=order in _DESCENDING)

    def _row(self, each: PipelineSummary) -> dict[str, Any]:
        ratio = words.wal_ratio(each)
        return {
            "name": each.name,
            "href": f"/pipelines/{quote(each.name, safe='')}",
            "state": each.state,
            "rank": words.state_rank(each.state),
            "node": each.node or "",
            "sink": each.sink,
            "why": "" if each.error is None else each.error.message,
            "snapshot": _snapshots(each),
            "lag": -1 if each.lag_s is None else each.lag_s,
            "lag_text": words.lag(each.lag_s),
            "rate": -1 if each.events_per_s is None else each.events_per_s,
            "rate_text": words.rate(each.events_per_s),
            "spark": spark(self._visit.courses.of(each.name).events_per_s),
            "retained": -1 if each.retained_bytes is None else each.retained_bytes,
            "retained_text": words.wal_of_limit(each),
            "retained_short": words.wal(each.retained_bytes),
            "meter": None if ratio is None else round(100 * ratio),
            "meter_class": meter_class(ratio),
        }


class _Filter:
    """The button of one state, or of all."""

    def __init__(self, state: str, choose: Callable[[str], None]) -> None:
        self._shown: tuple[int, int, bool, bool] | None = None
        self._state = state
        with ui.element("button").props('type="button"') as self._button:
            self._text = ui.html("", sanitize=False, tag="span")
        self._button.on("click", lambda: choose(state))

    def show(self, count: int, place: int, *, is_chosen: bool, is_there: bool) -> None:
        """With its number, at its place."""
        if self._shown == (now := (count, place, is_chosen, is_there)):
            return
        if self._shown is None or self._shown[1] != place:
            self._button.move(target_index=place)
        self._shown = now
        self._text.set_content(f"{html.escape(self._state) or 'all'} <b>{count}</b>")
        self._button.props(f'aria-pressed="{"true" if is_chosen else "false"}"')
        self._button.set_visibility(is_there)


def _filter_rank(state: str) -> tuple[bool, int, str]:
    return bool(state), words.state_rank(state), state


def meter_class(ratio: float | None) -> str:
    """How near the limit is."""
    return "" if ratio is None or ratio < 0.6 else "warn" if ratio < 0.85 else "bad"


def _searched(each: PipelineSummary) -> str:
    error = "" if each.error is None else each.error.message
    return " ".join((each.name, each.node or "", each.sink, each.state, error)).lower()


def _snapshots(each: PipelineSummary) -> str:
    if not each.snapshots:
        return ""
    first = each.snapshots[0]
    return f"snapshot {first.state}"
