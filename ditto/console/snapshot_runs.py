"""The tab of snapshots: each run with its tables and how far they are, and a form that starts one."""

from __future__ import annotations

import html
from typing import Any, Final

from nicegui import ui

from ditto.console.buttons import label
from ditto.console.fleet import Verb
from ditto.console.visit import Visit
from ditto.console.words import clock
from ditto.errors import NotRunning
from ditto.monitoring.snapshot_status import RunStatus, TableStatus
from ditto.units import counted, span

_KINDS: Final = {"request": "asked for", "initial": "of a new stream", "gap": "for events that were lost"}
_VERBS: Final[tuple[tuple[Verb, str, str], ...]] = (
    ("pause", "Pause", "pause"),
    ("resume", "Resume", "play_arrow"),
    ("cancel", "Cancel", "close"),
)


def snapshot_runs(visit: Visit, name: str) -> None:
    """Build the tab."""
    if visit.may("operate"):
        _form(visit, name)
    _Runs(visit, name)


def _form(visit: Visit, name: str) -> None:
    with ui.element("div").classes("panel"):
        ui.html("<h2 class='title'>Start a snapshot</h2>", sanitize=False)
        ui.label("A snapshot sends the rows that are in the tables now as READ events, beside the stream.").classes(
            "muted"
        )
        with ui.element("div").classes("row-line"):
            tables = (
                ui.input("Tables", placeholder="all, or public.orders, audit.*")
                .props("outlined dense clearable stack-label")
                .classes("grow")
            )
            where = (
                ui.input("Condition", placeholder="in SQL, for exactly one table")
                .props("outlined dense clearable stack-label")
                .classes("grow")
            )
            limit = (
                ui.number("Most rows/s", min=0, precision=0)
                .props("outlined dense clearable stack-label")
                .style("width: 8.5rem")
            )

            async def start() -> None:
                request: dict[str, Any] = {"tables": (tables.value or "").replace(",", " ").split()}
                if where.value:
                    request["where"] = where.value
                if limit.value:
                    request["max_rows_per_s"] = int(limit.value)
                await visit.attempt(
                    lambda: visit.fleet.start_snapshot(visit.caller, name, request), done="The snapshot is asked for"
                )

            ui.button("Start snapshot", icon="photo_camera", on_click=start).props("unelevated no-caps color=primary")


class _Runs:
    def __init__(self, visit: Visit, name: str) -> None:
        self._visit = visit
        self._name = name
        self._runs: dict[str, _Run] = {}
        self._note = ui.label("").classes("muted")
        self._list = ui.element("div").classes("page").style("padding: 0")
        visit.often(self._look)

    async def _look(self) -> None:
        try:
            found = await self._visit.fleet.snapshots(self._visit.caller, self._name)
        except NotRunning as error:
            self._note.set_text(f"{error.message}. Its snapshots are shown while it runs.")
            return
        self._note.set_text(
            "" if found.runs else "There is no snapshot, and none has ended since the pipeline started."
        )
        newest = found.runs[::-1]
        gone = set(self._runs) - {each.run for each in newest}
        for run in gone:
            self._runs.pop(run).remove()
        for place, each in enumerate(newest):
            if each.run not in self._runs:
                with self._list:
                    self._runs[each.run] = _Run(self._visit, self._name, each.run, place)
            self._runs[each.run].show(each)


class _Run:
    """One run."""

    def __init__(self, visit: Visit, name: str, run: str, place: int) -> None:
        self._panel = (
            ui.element("section").classes("panel").props(f'aria-label="Snapshot {html.escape(run, quote=True)}"')
        )
        self._panel.move(target_index=place)
        self._buttons: dict[str, ui.button] = {}
        with self._panel:
            with ui.element("div").classes("row-line"):
                self._head = ui.html("", sanitize=False).classes("grow")
                if visit.may("operate"):
                    for verb, text, icon in _VERBS:
                        self._buttons[verb] = self._button(visit, name, run, verb, text, icon)
            self._body = ui.html("", sanitize=False).classes("w-full")

    @staticmethod
    def _button(visit: Visit, name: str, run: str, verb: Verb, text: str, icon: str) -> ui.button:
        async def change() -> None:
            await visit.attempt(
                lambda: visit.fleet.change_snapshot(visit.caller, name, run, verb), done=f"{text}: asked for"
            )

        button = ui.button(text, icon=icon, on_click=change, color=None).props("outline dense no-caps")
        label(button, f"snapshot {run}")
        return button.classes("q-px-sm")

    def show(self, run: RunStatus) -> None:
        """Show what is known now."""
        state = html.escape(run.state)
        head = (
            f'<span class="state s-{state}">{state}</span> <b class="mono">{html.escape(run.run)}</b> '
            f'<span class="muted">{_KINDS.get(run.kind, "")}, {html.escape(clock(run.requested_at))} UTC</span>'
        )
        _set(self._head, head)
        reason = (
            ""
            if run.reason is None
            else f'<p class="problem">{html.escape(run.reason)} {html.escape(run.hint or "")}</p>'
        )
        where = "" if run.where is None else '<p class="muted">with a condition</p>'
        _set(self._body, reason + where + "".join(map(_table, run.tables)))
        for verb, button in self._buttons.items():
            button.set_visibility(
                not run.is_ended and (verb == "cancel" or (verb == "resume") == (run.state == "paused"))
            )

    def remove(self) -> None:
        """The run is not known any more."""
        self._panel.delete()


def _table(table: TableStatus) -> str:
    done = table.rows + table.left_out
    total = max(done, table.estimated_rows or 0)
    percent = 100 if table.state == "done" else min(99, 100 * done // total) if total else 0
    facts = [counted(table.rows, "row")]
    if table.estimated_rows is not None and not table.is_ended:
        facts.append(f"of about {table.estimated_rows:,}")
    if table.rows_per_s and not table.is_ended:
        facts.append(f"{table.rows_per_s:,.0f} rows/s")
        if table.remaining_rows:
            facts.append(f"about {span(round(table.remaining_rows / table.rows_per_s))} left")
    if table.waits_for:
        facts.append(f"waits for {table.waits_for}")
    problem = (
        ""
        if table.reason is None
        else f'<div class="problem">{html.escape(table.reason)} {html.escape(table.hint or "")}</div>'
    )
    kind = "bad" if table.state == "failed" else ""
    name = html.escape(f"{table.schema}.{table.table}")
    state = html.escape(table.state)
    return (
        f'<div style="padding: .35rem 0"><div class="row-line"><b>{name}</b>'
        f'<span class="state s-{state}">{state}</span>'
        f'<span class="muted grow">{html.escape(", ".join(facts))}</span><span class="number">{percent} %</span></div>'
        f'<div class="meter {kind}" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-label="{name}"><i style="width: {percent}%"></i></div>{problem}</div>'
    )


def _set(element: ui.html, text: str) -> None:
    if element.content != text:
        element.set_content(text)
