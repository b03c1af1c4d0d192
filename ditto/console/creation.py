"""The page that creates a pipeline: a name, a template, and the editor."""

from __future__ import annotations

import html
from urllib.parse import quote

from nicegui import ui

from ditto.api.fleet.documents import Applied
from ditto.console import yaml_text
from ditto.console.editor import Editor
from ditto.console.frame import frame
from ditto.console.templates import TEMPLATES, Template, filled
from ditto.console.visit import Visit
from ditto.fleet.document import Document


def creation_page(visit: Visit) -> None:
    """Build the page."""
    with frame(visit, "New pipeline"):
        with ui.element("div").classes("row-line"):
            ui.html("<h1 class='title'>New pipeline</h1>", sanitize=False)
        if not visit.may("admin"):
            ui.label("A new pipeline needs the role admin.").classes("muted")
            return
        _Creation(visit)


class _Creation:
    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._filled = ""
        with ui.element("div").classes("panel"):
            with ui.element("div").classes("row-line"):
                self._name = (
                    ui.input("Name", placeholder="letters, digits, _ and -")
                    .props("outlined dense autofocus maxlength=63 stack-label")
                    .classes("grow")
                )
                self._template = (
                    ui.select({index: each.title for index, each in enumerate(TEMPLATES)}, label="Template", value=0)
                    .props("outlined dense options-dense")
                    .classes("grow")
                )
            self._about = ui.html("", sanitize=False).classes("muted")
        self._editor = Editor(
            visit,
            self._given_name,
            yaml_text.read(self._text()),
            after=None,
            save=self._create,
            button="Review and create",
        )
        self._fill()
        self._name.on_value_change(self._fill)
        self._template.on_value_change(self._fill)

    @property
    def _chosen(self) -> Template:
        return TEMPLATES[int(self._template.value or 0)]

    def _given_name(self) -> str:
        return (self._name.value or "").strip()

    def _text(self) -> str:
        return filled(self._chosen, self._given_name())

    def _fill(self) -> None:
        """Put the template there, unless somebody has written something else."""
        self._about.set_content(html.escape(self._chosen.about))
        if self._editor.text in {"", self._filled} or not self._filled:
            self._filled = self._text()
            self._editor.replace(self._filled)

    async def _create(self, document: Document, after: int | None) -> Applied | None:
        name = self._given_name()
        done = await self._visit.attempt(
            lambda: self._visit.fleet.apply(self._visit.caller, name, document, after=after)
        )
        if done is not None:
            ui.navigate.to(f"/pipelines/{quote(name, safe='')}")
        return done
