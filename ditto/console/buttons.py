"""The buttons of a pipeline: pause, resume, restart, delete. What asks first says what becomes of what."""

from __future__ import annotations

from nicegui import ui

from ditto.console.fleet import Action
from ditto.console.visit import Visit
from ditto.fleet.status import PipelineSummary

_DONE = {
    "pause": "The pipeline is being paused",
    "resume": "The pipeline goes on",
    "restart": "The pipeline starts anew",
}


def label(button: ui.button, of: str) -> None:
    """Give a button, of which a page has several with the same text, a name of its own for those who hear the page."""
    button.props["aria-label"] = f"{button.text} {of}"


class Buttons:
    """In the head of the page."""

    def __init__(self, visit: Visit, name: str) -> None:
        self._visit = visit
        self._name = name
        self._pause: ui.button | None = None
        self.is_deleting = False
        """The pipeline is going or gone, and the page says what stays of it."""
        if not visit.may("operate"):
            return
        with ui.element("div").classes("actions").props('role="group" aria-label="Actions"'):
            self._build()

    def _build(self) -> None:
        self._pause = ui.button("Pause", icon="pause", on_click=lambda: self._do("pause"), color=None)
        self._resume = ui.button("Resume", icon="play_arrow", on_click=lambda: self._do("resume"), color=None)
        self._restart = ui.button("Restart", icon="restart_alt", on_click=lambda: self._do("restart"), color=None)
        for each in (self._pause, self._resume, self._restart):
            each.props("outline no-caps")
            label(each, f"pipeline {self._name}")
        if self._visit.may("admin"):
            delete = ui.button("Delete", icon="delete", on_click=self._ask_delete, color=None)
            label(delete.props("outline no-caps").classes("danger"), f"pipeline {self._name}")

    def show(self, summary: PipelineSummary) -> None:
        """Only those that do something now."""
        if self._pause is None:
            return
        is_paused = summary.state == "paused"
        self._pause.set_visibility(not is_paused)
        self._resume.set_visibility(is_paused or summary.state == "failed")
        self._restart.set_visibility(not is_paused)

    async def _do(self, action: Action) -> None:
        await self._visit.attempt(
            lambda: self._visit.fleet.change(self._visit.caller, self._name, action), done=_DONE[action]
        )

    def _ask_delete(self) -> None:
        visit, name = self._visit, self._name
        with ui.dialog(value=True) as dialog, ui.card().classes("dialog"):
            ui.html("<h2 class='title'>Delete this pipeline?</h2>", sanitize=False)
            ui.label(
                "The pipeline ends, and its configuration and history are forgotten. The replication slot, the "
                "publication and everything that is stored stay. PostgreSQL "
                "keeps WAL for the slot until the slot is dropped."
            )
            drop = ui.checkbox("Drop the replication slot, too: changes that are not stored yet are lost")
            typed = ui.input(f"Enter {name} to delete it").props("outlined dense autofocus")

            async def delete() -> None:
                revision = visit.fleet.view.stored(name).revision
                self.is_deleting = True
                done = await visit.attempt(
                    lambda: visit.fleet.delete(visit.caller, name, after=revision, drop_slot=bool(drop.value))
                )
                if done is None:
                    self.is_deleting = False
                    return
                dialog.close()
                with ui.dialog(value=True).props("persistent"), ui.card().classes("dialog"):
                    ui.html("<h2 class='title'>The pipeline is deleted</h2>", sanitize=False)
                    for each in done.kept:
                        ui.label(each)
                    with ui.element("div").classes("dialog-foot"):
                        ui.button("Pipelines", on_click=lambda: ui.navigate.to("/")).props("unelevated no-caps")

            with ui.element("div").classes("dialog-foot"):
                ui.button("Cancel", on_click=dialog.close, color=None).props("flat no-caps")
                really = ui.button("Delete", on_click=delete, color="negative").props("unelevated no-caps")
                really.bind_enabled_from(typed, "value", backward=lambda value: value == name)
