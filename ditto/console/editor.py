"""The editor of a configuration: YAML, checked while it is written; the difference is shown before it is saved."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable
from typing import Final

from nicegui import ui

from ditto.api.fleet.documents import Applied, Checked
from ditto.check.finding import Finding
from ditto.console import yaml_text
from ditto.console.key_reference import Key, key_reference
from ditto.console.visit import Visit, failed
from ditto.errors import DittoError
from ditto.fleet.document import Document, shown

_QUIET_S: Final = 0.6
"""After the last key that is pressed, before the text is checked."""
_EFFECTS: Final = {
    "nothing": "Saving changes nothing that runs.",
    "reload": "The pipeline takes this between two transactions.",
    "restart": "The session of the pipeline ends, and the next one has this.",
    "new slot": "The pipeline would begin at another place, or store elsewhere: events may be missing in between.",
    "start": "The pipeline is new and starts at once.",
    "stop": "The pipeline stops.",
}
_LEVELS: Final = {"ok": "s-streaming", "warning": "s-waiting", "error": "s-failed"}


def change_editor(visit: Visit, name: str) -> None:
    """The tab that changes a pipeline."""
    stored = visit.fleet.view.stored(name)
    document = stored.record.document if visit.may("operate") else shown(stored.record.document)

    async def save(document: Document, after: int | None) -> Applied | None:
        return await visit.attempt(lambda: visit.fleet.apply(visit.caller, name, document, after=after), done="Saved")

    Editor(visit, lambda: name, document, after=stored.revision, save=save, button="Review and save")


class Editor:
    """Text, verdict, keys and buttons. `after`: the revision that is changed; None for a new pipeline."""

    def __init__(
        self,
        visit: Visit,
        name: Callable[[], str],
        document: Document,
        *,
        after: int | None,
        save: Callable[[Document, int | None], Awaitable[Applied | None]],
        button: str,
    ) -> None:
        self._visit = visit
        self._name = name
        self._before = yaml_text.written(document)
        self._after = after
        self._save_document = save
        self._checking: asyncio.Task[None] | None = None
        self._can_change = visit.may("admin")
        with ui.element("div").classes("two"):
            with ui.element("div").classes("panel"):
                if not self._can_change:
                    ui.label("Your role sees the configuration; admin changes it.").classes("muted")
                self._text = ui.codemirror(
                    self._before,
                    language="YAML",
                    indent="  ",
                    on_change=self._on_change,
                ).props('aria-label="Configuration in YAML"')
                self._verdict = ui.html("", sanitize=False).classes("w-full").props('role="status"')
                if self._can_change:
                    with ui.element("div").classes("dialog-foot"):
                        ui.button("Undo all", on_click=self._undo, color=None).props("flat no-caps")
                        ui.button("Run all checks", icon="fact_check", on_click=self._validate, color=None).props(
                            "outline no-caps"
                        )
                        ui.button(button, icon="save", on_click=self._review).props("unelevated no-caps color=primary")
                else:
                    self._text.disable()
            key_reference(self._add if self._can_change else None)

    @property
    def text(self) -> str:
        """As it is now."""
        return self._text.value or ""

    def replace(self, text: str) -> None:
        """Another text, such as that of a template."""
        self._text.set_value(text)

    def _add(self, key: Key) -> None:
        """Put a key into the text, with its default or an example as value."""
        try:
            document = yaml_text.read(self.text or "{}")
            yaml_text.put(document, key.path, key.example)
        except DittoError as error:
            failed(error)
            return
        self.replace(yaml_text.written(document))

    def _undo(self) -> None:
        self.replace(self._before)

    def _on_change(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
        if self._can_change:
            self._checking = asyncio.create_task(self._check_soon(), name="console-check")

    async def _check_soon(self) -> None:
        await asyncio.sleep(_QUIET_S)
        with self._visit.client:
            await self._check()

    async def _check(self) -> tuple[Document, Applied] | None:
        """The document and what saving it does; None where it cannot be saved, and the page says why."""
        try:
            document = yaml_text.read(self._text.value or "")
            applied = await self._visit.fleet.check(self._visit.caller, self._name(), document)
        except DittoError as error:
            hint = f'<span class="hint">{html.escape(error.hint)}</span>' if error.hint else ""
            self._verdict.set_content(f'<div class="banner bad"><b>{html.escape(error.message)}</b>{hint}</div>')
            return None
        self._verdict.set_content(f'<div class="banner {_kind(applied)}">{_effect(applied)}</div>')
        return document, applied

    async def _validate(self) -> None:
        checked = await self._check()
        if checked is None:
            return
        document, _ = checked
        with ui.dialog(value=True) as dialog, ui.card().classes("dialog"):
            ui.html("<h2 class='title'>Checks</h2>", sanitize=False)
            waiting = ui.spinner(size="lg")
            found = ui.html("", sanitize=False)
            with ui.element("div").classes("dialog-foot"):
                ui.button("Close", on_click=dialog.close, color=None).props("flat no-caps")
        result = await self._visit.attempt(
            lambda: self._visit.fleet.validate(self._visit.caller, self._name(), document)
        )
        waiting.delete()
        if result is None:
            dialog.close()
        else:
            found.set_content(_findings(result))

    async def _review(self) -> None:
        checked = await self._check()
        if checked is None:
            ui.notify("Correct this first: the message is below the text", type="warning", textColor="white")
            return
        document, applied = checked
        shown = yaml_text.difference("" if self._after is None else self._before, self._text.value or "")
        with ui.dialog(value=True) as dialog, ui.card().classes("dialog"):
            ui.html(
                f"<h2 class='title'>{'Create' if self._after is None else 'Change'} {html.escape(self._name())}</h2>",
                sanitize=False,
            )
            ui.html(f'<div class="banner {_kind(applied)}">{_effect(applied)}</div>', sanitize=False)
            ui.html(shown or '<p class="muted">The text is the same as what is stored.</p>', sanitize=False)

            async def save() -> None:
                done = await self._save_document(document, self._after)
                if done is not None:
                    dialog.close()
                    self._after = done.revision
                    self._before = self._text.value or ""

            with ui.element("div").classes("dialog-foot"):
                ui.button("Back", on_click=dialog.close, color=None).props("flat no-caps")
                ui.button("Save", on_click=save).props("unelevated no-caps color=primary")


def _kind(applied: Applied) -> str:
    return "warn" if applied.change.effect == "new slot" or applied.unassigned is not None else "calm"


def _effect(applied: Applied) -> str:
    keys = ", ".join(applied.change.keys[:12])
    changed = f' <span class="muted">Keys: <code>{html.escape(keys)}</code></span>' if keys else ""
    notes = "".join(f'<span class="hint">{html.escape(note)}</span>' for note in applied.notes)
    nowhere = ""
    if (problem := applied.unassigned) is not None:
        hint = f" Hint: {problem.hint}" if problem.hint else ""
        text = f"The pipeline would run nowhere: {problem.message}.{hint}"
        nowhere = f'<span class="hint">{html.escape(text)}</span>'
    return f"<b>The configuration is good.</b> {_EFFECTS[applied.change.effect]}{changed}{nowhere}{notes}"


def _findings(checked: Checked) -> str:
    head = "Nothing is in the way." if checked.is_good else "The pipeline would not work."
    kind = "calm" if checked.is_good else "bad"
    rows = "".join(map(_finding, sorted(checked.findings, key=lambda each: list(_LEVELS)[::-1].index(each.level))))
    return f'<div class="banner {kind}"><b>{head}</b></div>{rows}'


def _finding(finding: Finding) -> str:
    about = "" if finding.level == "ok" else f'<div class="muted">{html.escape(finding.why)}</div>'
    fix = "" if finding.fix is None else f'<pre class="diff">{html.escape(finding.fix)}</pre>'
    return (
        f'<div style="padding: .5rem 0"><span class="state {_LEVELS[finding.level]}">{finding.level}</span> '
        f"{html.escape(finding.what)}{about}{fix}</div>"
    )
