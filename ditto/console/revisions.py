"""The tab of the history: who changed what, the difference to the revision before, and the way back."""

from __future__ import annotations

import html

from nicegui import ui

from ditto.api.fleet.documents import Revision
from ditto.console import yaml_text
from ditto.console.buttons import label
from ditto.console.visit import Visit
from ditto.console.words import ago, clock


def revisions(visit: Visit, name: str) -> None:
    """Build the tab."""
    _Revisions(visit, name)


class _Revisions:
    def __init__(self, visit: Visit, name: str) -> None:
        self._visit = visit
        self._name = name
        self._newest = 0
        with ui.element("div").classes("panel"):
            self._list = ui.element("div").classes("w-full")
            ui.label("The last 64 revisions are kept.").classes("muted")
        visit.often(self._look)

    async def _look(self) -> None:
        newest = self._visit.fleet.view.pipeline(self._name).revision
        if newest == self._newest:
            return
        self._newest = newest
        found = await self._visit.fleet.history(self._visit.caller, self._name)
        self._list.clear()
        with self._list:
            for index, each in enumerate(found.revisions):
                before = found.revisions[index + 1] if index + 1 < len(found.revisions) else None
                self._row(each, before, is_newest=index == 0)

    def _row(self, each: Revision, before: Revision | None, *, is_newest: bool) -> None:
        keys = ", ".join(each.change.keys[:6]) if each.change is not None else ""
        effect = f"{each.change.effect}" if each.change is not None and each.action in {"apply", "rollback"} else ""
        at, shown_at, since = (html.escape(text, quote=True) for text in (each.at, clock(each.at), ago(each.at)))
        when = f'<time datetime="{at}" title="{shown_at} UTC">{since}</time>'
        is_now = " (newest)" if is_newest else ""
        with ui.element("div").classes("revision"):
            ui.html(
                f'<b class="number">{each.revision}</b> <b>{html.escape(each.action)}</b>{is_now} '
                f'<span class="muted">by {html.escape(each.by or "nobody")}, '
                f"{when}</span>"
                f'<div class="muted mono">{html.escape(" ".join(filter(None, (effect, keys))))}</div>',
                sanitize=False,
            ).classes("grow")
            with ui.element("div").classes("actions"):
                differ = ui.button("Difference", on_click=lambda: self._differ(each.revision, before), color=None)
                label(differ.props("outline dense no-caps").classes("q-px-sm"), f"of revision {each.revision}")
                if self._visit.may("admin") and not is_newest:
                    back = ui.button("Roll back", icon="undo", on_click=lambda: self._ask(each.revision), color=None)
                    label(back.props("outline dense no-caps").classes("q-px-sm"), f"to revision {each.revision}")

    async def _text(self, revision: int) -> str | None:
        found = await self._visit.attempt(lambda: self._visit.fleet.read(self._visit.caller, self._name, revision))
        return None if found is None else yaml_text.written(found.document)

    async def _differ(self, revision: int, before: Revision | None) -> None:
        new = await self._text(revision)
        old = "" if before is None else await self._text(before.revision)
        if new is None or old is None:
            return
        with ui.dialog(value=True) as dialog, ui.card().classes("dialog"):
            than = "" if before is None else f" against revision {before.revision}"
            ui.html(f"<h2 class='title'>Revision {revision}{than}</h2>", sanitize=False)
            shown = yaml_text.difference(old, new)
            ui.html(shown or '<p class="muted">The configuration is the same.</p>', sanitize=False)
            with ui.element("div").classes("dialog-foot"):
                ui.button("Close", on_click=dialog.close, color=None).props("flat no-caps")

    async def _ask(self, revision: int) -> None:
        old, newest = await self._text(revision), self._newest
        current = await self._text(newest)
        if old is None or current is None:
            return
        with ui.dialog(value=True) as dialog, ui.card().classes("dialog"):
            ui.html(f"<h2 class='title'>Roll back to revision {revision}?</h2>", sanitize=False)
            ui.label(
                "A new revision gets the configuration of that one. Whether the pipeline is paused stays as it is."
            )
            shown = yaml_text.difference(current, old)
            ui.html(shown or '<p class="muted">The configuration is the same already.</p>', sanitize=False)

            async def roll_back() -> None:
                done = await self._visit.attempt(
                    lambda: self._visit.fleet.rollback(self._visit.caller, self._name, revision, after=newest),
                    done=f"Rolled back to revision {revision}",
                )
                if done is not None:
                    dialog.close()

            with ui.element("div").classes("dialog-foot"):
                ui.button("Cancel", on_click=dialog.close, color=None).props("flat no-caps")
                ui.button("Roll back", on_click=roll_back).props("unelevated no-caps color=primary")
