"""What is at an address where nothing is: a page like the others, with a way back."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from nicegui import ui

from ditto.console.frame import frame
from ditto.errors import PipelineUnknown

if TYPE_CHECKING:
    from ditto.console.visit import Visit


def no_pipeline(visit: Visit, name: str) -> None:
    """Build the page; where there is such a pipeline later, it takes the place of this page."""
    _build(visit, f"There is no pipeline {name}", "Somebody has deleted it, or its name is another one.")

    def look() -> None:
        try:
            visit.fleet.view.pipeline(name)
        except PipelineUnknown:
            return
        ui.navigate.reload()

    visit.often(look)


def no_page(visit: Visit) -> None:
    """Build the page."""
    _build(visit, "There is no such page", "The console has pipelines and nodes.")


def _build(visit: Visit, title: str, text: str) -> None:
    with frame(visit, title):
        if visit.fleet.is_starting():
            return  # which the frame says
        ui.html(f"<h1 class='title'>{html.escape(title)}</h1>", sanitize=False)
        ui.label(text).classes("muted")
        ui.html('<a class="back" href="/">All pipelines</a>', sanitize=False)
