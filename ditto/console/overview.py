"""The first page: all pipelines, with search, a filter by state, and an order."""

from __future__ import annotations

import html
from collections import Counter
from typing import Any, Final
from urllib.parse import quote

from nicegui import ui

from ditto.console import words
from ditto.console.courses import spark
from ditto.console.frame import frame
from ditto.console.visit import Visit
from ditto.fleet.status import PipelineSummary

_PAGE_SIZE: Final = 100
_MANY: Final = 200
_COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "name", "label": "Pipeline", "field": "name", "align": "left", "sortable": True},
    {"name": "rank", "label": "State", "field": "rank", "align": "left", "sortable": True},
    {"name": "node", "label": "Node", "field": "node", "align": "left", "sortable": True},
    {"name": "sink", "label": "Sink", "field": "sink", "align": "left", "sortable": True},
    {"name": "lag", "label": "Lag", "field": "lag", "align": "right", "sortable": True},
    {"name": "rate", "label": "Events/s", "field": "rate", "align": "right", "sortable": True},
    {"name": "course", "label": "Last 10 minutes", "field": "name", "align": "left"},
    {"name": "retained", "label": "Retained WAL", "field": "retained", "align": "left", "sortable": True},
]
_ORDERS: Final = {
    "rank": "Trouble first",
    "name": "Name",
    "lag": "Lag",
    "rate": "Events/s",
    "retained": "Retained WAL",
    "node": "Node",
}
_DESCENDING: Final = frozenset({"lag", "rate", "retained"})
_BODY: Final = r"""
<q-tr :props="props" @click="$parent.$emit('open', props.row.name)">
  <q-td key="name" :props="props"><a class="plain" :href="props.row.href" @click.stop>{{ props.row.name }}</a>
    <div v-if="props.row.why" class="why" :title="props.row.why">{{ props.row.why }}</div>
    <div v-if="props.row.snapshot" class="muted">{{ props.row.snapshot }}</div></q-td>
  <q-td key="rank" :props="props"><span :class="'state s-' + props.row.state">{{ props.row.state }}</span></q-td>
  <q-td key="node" :props="props">{{ props.row.node || '\u2013' }}</q-td>
  <q-td key="sink" :props="props">{{ props.row.sink || '\u2013' }}</q-td>
  <q-td key="lag" :props="props" class="number">{{ props.row.lag_text }}</q-td>
  <q-td key="rate" :props="props" class="number">{{ props.row.rate_text }}</q-td>
  <q-td key="course" :props="props"><svg class="spark" viewBox="0 0 90 22" aria-hidden="true">
    <polyline :points="props.row.spark"/></svg></q-td>
  <q-td key="retained" :props="props"><span class="number">{{ props.row.retained_text }}</span>
    <div v-if="props.row.meter !== null" :class="'meter ' + props.row.meter_class">
      <i :style="{ width: props.row.meter + '%' }"></i></div></q-td>
</q-tr>
"""
_CARD: Final = r"""
<div class="col-12 q-pa-xs">
<a class="card" :href="props.row.href">
  <div class="top"><b>{{ props.row.name }}</b>
    <span :class="'state s-' + props.row.state">{{ props.row.state }}</span></div>
  <div v-if="props.row.why" class="why">{{ props.row.why }}</div>
  <div v-if="props.row.snapshot" class="muted">{{ props.row.snapshot }}</div>
  <div class="facts">
    <div class="fact"><span>Lag</span><b>{{ props.row.lag_text }}</b></div>
    <div class="fact"><span>Events/s</span><b>{{ props.row.rate_text }}</b></div>
    <div class="fact"><span>WAL</span><b>{{ props.row.retained_short }}</b></div>
  </div>
  <div class="top muted"><span>{{ props.row.node || 'no node' }} · {{ props.row.sink || '\u2013' }}</span>
    <svg class="spark" viewBox="0 0 90 22" aria-hidden="true"><polyline :points="props.row.spark"/></svg></div>
</a></div>
"""


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
        self._filters = ui.element("div").classes("filters").props('role="group" aria-label="Filter by state"')
        self._counts: list[tuple[str, int]] = []
        self._table = (
            ui.table(
                rows=[], columns=_COLUMNS, row_key="name", pagination={"rowsPerPage": _PAGE_SIZE, "sortBy": "rank"}
            )
            .classes("fleet")
            .props('flat :grid="Quasar.Screen.lt.md" :rows-per-page-options="[25, 50, 100, 0]" binary-state-sort')
        )
        self._table.add_slot("body", _BODY)
        self._table.add_slot("item", _CARD)
        self._table.add_slot("no-data", '<div class="q-pa-md muted">No pipeline is like that.</div>')
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
        self._empty.set_visibility(not found)
        self._table.set_visibility(bool(found))
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
            self._table.rows = rows

    def _show_sum(self, found: list[PipelineSummary]) -> None:
        rate = sum(each.events_per_s or 0.0 for each in found)
        lags = [each.lag_s for each in found if each.lag_s is not None]
        text = f"{words.rate(rate)} events/s, largest lag {words.lag(max(lags, default=None))}" if found else ""
        if self._sum.text != text:
            self._sum.set_text(text)

    def _show_filters(self, found: list[PipelineSummary]) -> None:
        counts = Counter(each.state for each in found)
        shown = [("", len(found)), *sorted(counts.items(), key=lambda item: words.state_rank(item[0]))]
        if self._state and self._state not in counts:
            shown.append((self._state, 0))
        if shown == self._counts:
            return
        self._counts = shown
        self._filters.clear()
        with self._filters:
            for state, count in shown:
                self._filter(state, count)

    def _filter(self, state: str, count: int) -> None:
        pressed = "true" if state == self._state else "false"
        with ui.element("button").props(f'type="button" aria-pressed="{pressed}"') as button:
            ui.html(f"{html.escape(state) or 'all'} <b>{count}</b>", sanitize=False, tag="span")
        button.on("click", lambda: self._choose(state))

    def _choose(self, state: str) -> None:
        self._state = "" if state == self._state else state
        self._counts = []
        self.look()

    def _sort(self) -> None:
        order = str(self._order.value)
        self._table.pagination = {**self._table.pagination, "sortBy": order, "descending": order in _DESCENDING}

    def _row(self, each: PipelineSummary) -> dict[str, Any]:
        ratio = words.wal_ratio(each)
        return {
            "name": each.name,
            "href": f"/pipelines/{quote(each.name, safe='')}",
            "state": each.state,
            "rank": words.state_rank(each.state),
            "node": each.node or "",
            "sink": each.sink,
            "why": each.error.message if each.error is not None else each.reason if each.state == "unassigned" else "",
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
