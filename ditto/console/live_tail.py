"""The tab of live events: what is stored from now on, as it comes."""

from __future__ import annotations

import asyncio
import html
from collections import deque
from typing import Any, Final

import msgspec
from nicegui import ui

from ditto.console.event_stream import ServerEvent
from ditto.console.visit import Visit, failed
from ditto.console.words import clock
from ditto.errors import DittoError

_SHOWN: Final = 200
"""Events on the page; older ones are forgotten."""
_EVERY_S: Final = 0.4
_AT_ONCE: Final = 100
"""Events in that time: more cost the node more than they are worth to somebody who reads them."""
_PAUSE_S: Final = 1.0
"""After more than that."""
_LONGEST: Final = 6000
"""Characters of one event that are shown."""
_ACTIONS: Final = ("insert", "update", "delete", "truncate", "read", "message")


def live_tail(visit: Visit, name: str) -> None:
    """Build the tab."""
    _Tail(visit, name)


class _Tail:
    def __init__(self, visit: Visit, name: str) -> None:
        self._visit = visit
        self._name = name
        self._waiting: deque[ServerEvent] = deque(maxlen=_SHOWN)
        self._rows: deque[ui.html] = deque()
        self._count = 0
        self._is_sample = False
        self._running: asyncio.Task[None] | None = None
        with ui.element("div").classes("panel"):
            with ui.element("div").classes("row-line"):
                self._tables = (
                    ui.input("Tables", placeholder="all, or public.orders, audit.*")
                    .props("outlined dense clearable stack-label")
                    .classes("grow")
                )
                self._actions = (
                    ui.select(list(_ACTIONS), label="Actions", multiple=True, value=[])
                    .props("outlined dense options-dense use-chips clearable stack-label")
                    .style("min-width: 12rem")
                )
                self._toggle = ui.button("Start", icon="play_arrow", on_click=self._on_toggle).props(
                    "unelevated no-caps color=primary"
                )
                ui.button("Clear", on_click=self._clear, color=None).props("flat no-caps")
            if not visit.may("operate"):
                ui.label("Your role sees tables, actions and names of columns, and no values.").classes("muted")
            self._state = (
                ui.label("Events that are stored from now on appear here.").classes("muted").props('role="status"')
            )
            self._list = ui.element("div").classes("events").props('aria-label="Events"')
        self._tables.on("keydown.enter", self._restart)
        self._actions.on_value_change(self._restart)
        visit.often(self._show, _EVERY_S)
        visit.client.on_delete(self._cancel)
        self._start()

    def _on_toggle(self) -> None:
        if self._running is None:
            self._start()
        else:
            self._end()

    def _restart(self) -> None:
        if self._running is not None:
            self._end()
            self._start()

    def _start(self) -> None:
        self._running = asyncio.create_task(self._follow(), name=f"live tail {self._name}")
        self._toggle.set_text("Stop")
        self._toggle.props("icon=stop")
        self._state.set_text("Connecting to the sink")

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()
            self._running = None

    def _end(self) -> None:
        self._cancel()
        self._toggle.set_text("Start")
        self._toggle.props("icon=play_arrow")
        self._state.set_text("Stopped")

    async def _follow(self) -> None:
        ended: DittoError | None = None
        try:
            while await self._read():
                self._is_sample = True
                await asyncio.sleep(_PAUSE_S)
        except DittoError as error:
            ended = error
        self._running = None
        with self._visit.client:
            self._end()
            if ended is not None:
                failed(ended)

    async def _read(self) -> bool:
        """Read until the stream ends; True where more comes than a page can show, so that it is left for a moment."""
        tables = (self._tables.value or "").replace(",", " ").split()
        actions = list(self._actions.value or [])
        clock = asyncio.get_running_loop().time
        async with self._visit.fleet.events(self._visit.caller, self._name, tables=tables, actions=actions) as events:
            if not self._count:
                with self._visit.client:
                    self._state.set_text("Live: events appear as they are stored")
            began_at, found = clock(), 0
            async for event in events:
                self._count += 1
                self._waiting.append(event)
                if clock() - began_at > _EVERY_S:
                    began_at, found = clock(), 0
                found += 1
                if found > _AT_ONCE:
                    return True
        return False

    def _clear(self) -> None:
        self._list.clear()
        self._rows.clear()
        self._waiting.clear()
        self._count = 0
        self._is_sample = False

    def _show(self) -> None:
        if not self._waiting:
            return
        found = list(self._waiting)
        self._waiting.clear()
        with self._list:
            for event in found:
                row = ui.html(_row(event), sanitize=False).classes("w-full")
                row.move(target_index=0)
                self._rows.appendleft(row)
        while len(self._rows) > _SHOWN:
            self._rows.pop().delete()
        self._state.set_text(f"Live: {self._count:,} events, the newest first" + self._left_out())

    def _left_out(self) -> str:
        if self._is_sample:
            return "; more come than can be read here: this is a sample"
        return f"; the last {_SHOWN} are here" if self._count > _SHOWN else ""


def _row(event: ServerEvent) -> str:
    try:
        data: Any = msgspec.json.decode(event.data)
    except msgspec.MsgspecError:
        data = {}
    data = data if isinstance(data, dict) else {}
    action, source, about = _summary(event.kind, data)
    text = msgspec.json.format(event.data, indent=2) if data else event.data
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}\n… {len(text) - _LONGEST:,} characters more"
    time = str(data.get("commitTime") or data.get("commit_time") or "")
    return (
        f'<details class="event"><summary><span class="action a-{html.escape(action)}">{html.escape(action)}</span>'
        f"<b>{html.escape(source)}</b><span class='muted number'>{html.escape(clock(time)[11:])}</span>"
        f'<span class="mono">{html.escape(about)}</span></summary>'
        f"<pre>{html.escape(text)}</pre></details>"
    )


def _summary(kind: str, data: dict[str, Any]) -> tuple[str, str, str]:
    """Action, table, and one line about the rest."""
    if kind in {"lost", "error"}:
        return kind.upper(), "", str(data.get("detail", ""))
    if kind == "snapshot":
        control = data.get("snapshot")
        control = control if isinstance(control, dict) else {}
        table = ".".join(str(control[each]) for each in ("schema", "table") if control.get(each))
        return "SNAPSHOT", table, str(control.get("state", ""))
    if kind == "message":
        return "MESSAGE", str(data.get("source") or data.get("subject") or ""), _short(data.get("payload"))
    table = f"{data.get('schema', '')}.{data.get('table', '')}"
    row = data.get("data") or data.get("dataOld") or data.get("columns")
    return str(data.get("action", "CHANGE")), table, _short(row)


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)[:200]
    if isinstance(value, dict):
        return "  ".join(f"{name}={msgspec.json.encode(each).decode()}" for name, each in value.items())[:200]
    return msgspec.json.encode(value).decode()[:200]
