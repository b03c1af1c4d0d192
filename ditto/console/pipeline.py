"""The page of one pipeline: what it does, its buttons, and a tab each for events, snapshots, configuration, history."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from nicegui import ui

from ditto.console import words
from ditto.console.buttons import Buttons
from ditto.console.charts import Charts
from ditto.console.editor import change_editor
from ditto.console.frame import frame
from ditto.console.live_tail import live_tail
from ditto.console.revisions import revisions
from ditto.console.snapshot_runs import snapshot_runs
from ditto.console.visit import Visit
from ditto.errors import PipelineUnknown
from ditto.fleet.status import PipelineSummary

_TABS: Final[tuple[tuple[str, str], ...]] = (
    ("overview", "Overview"),
    ("events", "Live events"),
    ("snapshots", "Snapshots"),
    ("configuration", "Configuration"),
    ("history", "History"),
)


def pipeline_page(visit: Visit, name: str, tab: str) -> None:
    """Build the page. Raises PipelineUnknown."""
    summary = visit.fleet.view.pipeline(name)
    chosen = tab if tab in dict(_TABS) else _TABS[0][0]
    with frame(visit, name):
        head = _Head(visit, summary)
        charts = _tabs(visit, summary, chosen)

        def look() -> None:
            try:
                found = visit.fleet.view.pipeline(name)
            except PipelineUnknown:
                if not head.buttons.is_deleting:
                    ui.navigate.reload()  # says that there is no such pipeline
                return
            head.show(found)
            if charts is not None:
                charts(found)

        visit.often(look)


def _tabs(visit: Visit, summary: PipelineSummary, chosen: str) -> Callable[[PipelineSummary], None] | None:
    """The links to the tabs, and the one that is chosen: each is a page, with an address of its own."""
    here = f"/pipelines/{quote(summary.name, safe='')}"
    links = "".join(
        f'<a class="nav" href="{here}{f"?tab={tab}" if tab != "overview" else ""}"'
        f"{' aria-current=page' if tab == chosen else ''}>{label}</a>"
        for tab, label in _TABS
    )
    ui.html(f'<nav class="bar tabs" aria-label="About this pipeline">{links}</nav>', sanitize=False).classes("w-full")
    if chosen == "events":
        live_tail(visit, summary.name)
    elif chosen == "snapshots":
        snapshot_runs(visit, summary.name)
    elif chosen == "configuration":
        change_editor(visit, summary.name)
    elif chosen == "history":
        revisions(visit, summary.name)
    else:
        return _overview(visit)
    return None


def _overview(visit: Visit) -> Callable[[PipelineSummary], None]:
    tiles = ui.html("", sanitize=False).classes("w-full")
    charts = Charts()

    def show(summary: PipelineSummary) -> None:
        text = _tiles(summary)
        if tiles.content != text:
            tiles.set_content(text)
        charts.show(visit.courses.of(summary.name), summary)

    return show


def _tiles(summary: PipelineSummary) -> str:
    revision = str(summary.revision)
    if summary.running_revision not in {None, summary.revision}:
        revision = f"{summary.revision} ({summary.running_revision} runs)"
    facts = (
        ("Lag", words.lag(summary.lag_s)),
        ("Events/s", words.rate(summary.events_per_s)),
        ("Events since it started", f"{summary.events:,}"),
        ("Retained WAL", words.wal_of_limit(summary)),
        ("Sink", summary.sink or words.NONE),
        ("Node", summary.node or words.NONE),
        ("Revision", revision),
    )
    tiles = "".join(
        f'<div class="tile"><span>{html.escape(name)}</span><b>{html.escape(value)}</b></div>' for name, value in facts
    )
    return f'<div class="tiles">{tiles}</div>'


class _Head:
    """Name, state, buttons, and the last error."""

    def __init__(self, visit: Visit, summary: PipelineSummary) -> None:
        with ui.element("div").classes("row-line"):
            title = html.escape(summary.name)
            ui.html(f"<h1 class='title'>{title}</h1>", sanitize=False)
            self._state = ui.html("", sanitize=False).props('role="status" aria-label="State"')
            ui.element("div").classes("grow")
            self.buttons = Buttons(visit, summary.name)
        self._why = ui.html("", sanitize=False).classes("w-full").props('role="status"')
        self._why.set_visibility(False)

    def show(self, summary: PipelineSummary) -> None:
        """Show what is known now."""
        state = html.escape(summary.state)
        _set(self._state, f'<span class="state s-{state}">{state}</span>')
        _set(self._why, why(summary))
        self.buttons.show(summary)


def why(summary: PipelineSummary) -> str:
    """The error of a pipeline with its hint, or the reason for its state where that is no good news."""
    if summary.error is not None:
        hint = f'<span class="hint">{html.escape(summary.error.hint)}</span>' if summary.error.hint else ""
        code = f' <span class="muted">exit code {summary.error.code}</span>' if summary.state == "failed" else ""
        kind = "bad" if summary.state == "failed" else "warn"
        return f'<div class="banner {kind}"><b>{html.escape(summary.error.message)}</b>{code}{hint}</div>'
    if summary.reason and summary.state not in {"streaming", "paused"}:
        return f'<div class="banner calm">{html.escape(summary.reason)}</div>'
    return ""


def _set(element: ui.html, text: str) -> None:
    if element.content != text:
        element.set_content(text)
        element.set_visibility(bool(text))
