"""What is around every page: the bar with its links, dark and light, keys, and whether the control plane is there."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nicegui import ui

from ditto.api.fleet.auth import LOOPBACK
from ditto.console.sign_in import LEAVE
from ditto.console.visit import THEME, Visit
from ditto.fleet.records import Problem

_HEAD: Final = """<link rel="stylesheet" href="/console/style.css"><link rel="icon" href="/console/icon.svg">
<script>
document.addEventListener("keydown", event => {
  const at = event.target;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (at.isContentEditable || at.closest("input, select, textarea")) return;
  const pages = { n: "/new", p: "/", o: "/nodes" };
  if (event.key === "/") document.querySelector("input[type=search]")?.focus();
  else if (event.key === "?") document.querySelector("[aria-label=Keys]")?.click();
  else if (pages[event.key]) location.assign(pages[event.key]);
  else return;
  event.preventDefault();
});
</script>"""
"""The keys are taken in the browser, so that what is typed after `/` is not lost on the way."""
_LINKS: Final = (("Pipelines", "/"), ("Nodes", "/nodes"))
_THEMES: Final = (("As the system", None), ("Light", False), ("Dark", True))
_KEYS: Final = (
    ("/", "search"),
    ("n", "new pipeline"),
    ("p", "pipelines"),
    ("o", "nodes"),
    ("?", "this list"),
)


@contextmanager
def frame(visit: Visit, title: str, current: str = "") -> Iterator[None]:
    """The body of the page is built inside."""
    ui.page_title(f"{title} - Ditto")
    ui.add_head_html(_HEAD)
    ui.colors(
        primary="#1f5fbf",
        positive="#1a7f4b",
        negative="#b02a2a",
        warning="#9a6200",
        dark="#1a2027",
        dark_page="#12161b",
    )
    dark = ui.dark_mode(visit.is_dark)
    about = _keys()
    with ui.header().classes("q-py-xs"):
        _bar(visit, current, dark, about)
    with ui.element("main").classes("page").props('id="content" tabindex="-1"'):
        lost = ui.html("", sanitize=False).classes("w-full").props('role="status"')
        yield

    def look() -> None:
        is_lost = not visit.fleet.view.is_current
        text = _STARTING if visit.fleet.is_starting() else _lost(visit.fleet.cut_off_by()) if is_lost else ""
        if lost.content != text:
            lost.set_content(text)
        lost.set_visibility(bool(text))

    visit.often(look)


_STARTING: Final = (
    '<div class="banner warn"><b>This node is starting.</b> It has not reached the control plane yet, and does not '
    "know the fleet: pipelines and nodes appear when it has. Where it stays so, look at <code>nats.url</code> of the "
    "node's configuration, and at nats-server.</div>"
)
_LOST: Final = (
    '<div class="banner warn"><b>This node is cut off from the control plane.</b> This page shows the fleet as of when '
    "that began. Pipelines that run go on; nothing is started or changed."
)


def _lost(cause: Problem | None) -> str:
    why = f" The reason: {html.escape(cause.message)}." if cause is not None else ""
    hint = f'<span class="hint">{html.escape(cause.hint)}</span>' if cause is not None and cause.hint else ""
    return f"{_LOST}{why}{hint}</div>"


def _bar(visit: Visit, current: str, dark: ui.dark_mode, about: ui.dialog) -> None:
    with ui.element("div").classes("bar"):
        ui.html('<a class="skip" href="#content">Skip to the content</a>', sanitize=False)
        node = html.escape(visit.fleet.node)
        ui.html(
            f'<a class="brand" href="/" title="Node {node}"><img src="/console/icon.svg" alt=""><span>Ditto</span></a>',
            sanitize=False,
        )
        with ui.element("nav").props('aria-label="Pages"'):
            here = "".join(
                f'<a class="nav" href="{target}"{" aria-current=page" if target == current else ""}>{name}</a>'
                for name, target in _LINKS
            )
            ui.html(here, sanitize=False)
        ui.element("div").classes("space")
        ui.label(visit.fleet.node).classes("muted who q-mr-sm").tooltip("This node")
        ui.button(icon="keyboard", color=None, on_click=about.open).props('flat round dense aria-label="Keys"').classes(
            "wide"
        )
        with ui.button(icon="contrast", color=None).props('flat round dense aria-label="Dark or light"'), ui.menu():
            for name, value in _THEMES:
                ui.menu_item(name, lambda value=value: _set_theme(dark, value))
        label = f"Signed in as {visit.who.name}"
        with (
            ui.button(icon="person", color=None).props(
                f'flat round dense aria-label="{html.escape(label, quote=True)}"'
            ),
            ui.menu(),
        ):
            with ui.element("div").classes("q-pa-md"):
                ui.label(visit.who.name).classes("text-bold")
                ui.label(f"role {visit.who.role}").classes("muted")
            if visit.who.name != LOOPBACK:
                ui.separator()
                ui.html(
                    f'<form method="post" action="{LEAVE}"><button class="q-btn q-btn--flat q-pa-md full-width">'
                    "Sign out</button></form>",
                    sanitize=False,
                )


def _set_theme(dark: ui.dark_mode, value: bool | None) -> None:
    dark.set_value(value)
    word = {True: "dark", False: "light", None: ""}[value]
    age = 31536000 if word else 0
    ui.run_javascript(f'document.cookie = "{THEME}={word}; path=/; max-age={age}; samesite=strict"')


def _keys() -> ui.dialog:
    with ui.dialog() as about, ui.card().classes("dialog"):
        ui.html("<h2 class='title'>Keys</h2>", sanitize=False)
        rows = "".join(f"<tr><td><kbd>{key}</kbd></td><td>{what}</td></tr>" for key, what in _KEYS)
        ui.html(f'<table class="plain-table">{rows}</table>', sanitize=False)
        with ui.element("div").classes("dialog-foot"):
            ui.button("Close", on_click=about.close).props("flat no-caps")
    return about
