"""The page of nodes: what each runs, and a button that lets it hand its pipelines over."""

from __future__ import annotations

import html
from typing import Final

from nicegui import ui

from ditto.console import words
from ditto.console.buttons import label
from ditto.console.courses import POINTS, spark, total
from ditto.console.frame import frame
from ditto.console.visit import Visit
from ditto.console.words import ago
from ditto.fleet.status import NodeSummary, PipelineSummary
from ditto.units import counted

_EVERY_S: Final = 4.0
"""Each look adds up an hour of every pipeline."""


def nodes_page(visit: Visit) -> None:
    """Build the page."""
    with frame(visit, "Nodes", "/nodes"):
        with ui.element("div").classes("row-line"):
            ui.html("<h1 class='title'>Nodes</h1>", sanitize=False)
        _Nodes(visit)


class _Nodes:
    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._shown: list[tuple[str, str, str]] = []
        self._about: list[ui.html] = []
        """Of each card what changes all the time; its links and buttons stay, so that they can be clicked on."""
        self._cards = ui.element("div").classes("cards")
        visit.often(self._look, _EVERY_S)

    def _look(self) -> None:
        found = self._visit.fleet.view.nodes()
        shown = [(each.name, each.state, each.api_url) for each in found]
        if shown == self._shown:
            for about, each in zip(self._about, found, strict=True):
                text = self._text(each)
                if about.content != text:
                    about.set_content(text)
            return
        self._shown = shown
        self._cards.clear()
        self._about.clear()
        with self._cards:
            for each in found:
                self._card(each)

    def _card(self, node: NodeSummary) -> None:
        with ui.element("section").classes("card").props(f'aria-label="Node {html.escape(node.name, quote=True)}"'):
            ui.html(_head(node, is_this=node.name == self._visit.fleet.node), sanitize=False)
            self._about.append(ui.html(self._text(node), sanitize=False))
            if self._visit.may("operate") and node.state == "live":
                drain = ui.button("Drain", icon="move_down", on_click=lambda: self._ask(node), color=None)
                label(drain, f"node {node.name}")
                drain.props("outline dense no-caps").classes("q-px-sm").style("justify-self: start")

    def _text(self, node: NodeSummary) -> str:
        fleet = self._visit.fleet
        own = [each for each in fleet.view.pipelines() if each.node == node.name]
        course = spark(total(self._visit.courses.of(each.name) for each in own), width=240, height=36, most=POINTS)
        return _about(node, own, course)

    async def _ask(self, node: NodeSummary) -> None:
        """Say first what would run nowhere."""
        planned = await self._visit.attempt(
            lambda: self._visit.fleet.drain(self._visit.caller, node.name, dry_run=True)
        )
        if planned is None:
            return
        with ui.dialog(value=True) as dialog, ui.card().classes("dialog"):
            ui.html(f"<h2 class='title'>Drain {html.escape(node.name)}?</h2>", sanitize=False)
            ui.label(
                f"It runs {counted(planned.pipelines, 'pipeline')}, which it hands over to other nodes, one after the "
                "other. The node takes no more until it is started again."
            )
            if planned.unplaced:
                ui.html(_unplaced(planned.unplaced), sanitize=False).classes("w-full")

            async def drain() -> None:
                await self._visit.attempt(
                    lambda: self._visit.fleet.drain(self._visit.caller, node.name), done=f"{node.name} hands over"
                )
                dialog.close()

            with ui.element("div").classes("dialog-foot"):
                ui.button("Cancel", on_click=dialog.close, color=None).props("flat no-caps")
                ui.button("Drain", on_click=drain).props("unelevated no-caps color=primary")


def _unplaced(names: list[str]) -> str:
    """The pipelines that would run nowhere."""
    rows = "".join(f"<li>{html.escape(each)}</li>" for each in names)
    return (
        f'<div class="banner warn"><b>No other node can take {counted(len(names), "pipeline")}:</b> no other one has '
        f'the labels, or room. Until one can, nothing would run there.<ul class="names">{rows}</ul></div>'
    )


def _head(node: NodeSummary, *, is_this: bool) -> str:
    """Name and state."""
    name, url, state = html.escape(node.name), html.escape(node.api_url, quote=True), html.escape(node.state)
    is_link = node.api_url.startswith(("http://", "https://"))
    link = f'<a class="plain" href="{url}">{name}</a>' if is_link else f"<b>{name}</b>"
    return (
        f'<div class="top"><span>{link}{" <span class=muted>this node</span>" if is_this else ""}</span>'
        f'<span class="state s-{state}">{state}</span></div>'
    )


def _about(node: NodeSummary, own: list[PipelineSummary], course: str) -> str:
    lags = [each.lag_s for each in own if each.lag_s is not None]
    speed = words.rate(sum(each.events_per_s or 0.0 for each in own))
    line = (
        f'<svg class="spark wide-spark" viewBox="0 0 240 36" preserveAspectRatio="none" role="img" '
        f'aria-label="Events a second over the last hour"><polyline points="{course}"/></svg>'
    )
    ratio = 100 * node.pipelines // node.max_pipelines if node.max_pipelines else 0
    most = counted(node.max_pipelines, "pipeline")
    labels = html.escape(", ".join(f"{key}={value}" for key, value in node.labels.items()))
    return (
        f'<div style="padding: .5rem 0"><span class="number">{node.pipelines} of {most}</span>'
        f'<div class="meter"><i style="width: {min(100, ratio)}%"></i></div></div>'
        f'<div class="facts"><div class="fact"><span>Events/s</span><b>{speed}</b></div>'
        f'<div class="fact"><span>Largest lag</span><b>{words.lag(max(lags, default=None))}</b></div>'
        f'<div class="fact"><span>Failed</span><b>{sum(each.state == "failed" for each in own)}</b></div></div>{line}'
        f'<div class="facts"><div class="fact"><span>Workers</span><b>{node.workers}</b></div>'
        f'<div class="fact"><span>Started</span><b>{html.escape(ago(node.started))}</b></div>'
        f'<div class="fact"><span>Version</span><b>{html.escape(node.version)}</b></div></div>'
        + (f'<div class="muted" style="padding-top: .4rem">{labels}</div>' if labels else "")
    )
