"""Verdicts as text: one line says what becomes of the change, and below it is the event."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click
import msgspec

from ditto.formats.stored_events import read_event
from ditto.preview.verdict import Verdict
from ditto.printable_text import printable
from ditto.tail.show import Writer, fitted, short
from ditto.units import counted

_COLOURS = {"passed": "green", "dropped": "yellow", "stops": "red"}


class Lines:
    """Turns verdicts into text."""

    def __init__(self, *, is_coloured: bool, width: Callable[[], int] | None = None) -> None:
        self._is_coloured = is_coloured
        self._width = width
        self._writer = Writer(is_coloured=is_coloured, width=width)

    def text(self, verdict: Verdict) -> str:
        """Its lines."""
        lines = list(self._about(verdict))
        if self._width is not None:
            width = self._width()
            lines = [fitted(line, width) for line in lines]
        return "\n".join([*lines, *self._event(verdict)])

    def _about(self, verdict: Verdict) -> Iterator[str]:
        word = verdict.outcome.upper() if verdict.outcome == "stops" else verdict.outcome
        head = click.style(f"{word:<8}", fg=_COLOURS[verdict.outcome], bold=True) if self._is_coloured else f"{word:<8}"
        position = f"  at {verdict.position}" if verdict.position else ""
        target = f" → {printable(verdict.subject)}" if verdict.subject is not None else ""
        yield f"{head} {verdict.action} {printable(verdict.table)}{position}{target}"
        if verdict.rule is not None:
            yield f"    {printable(verdict.rule)}: {printable(verdict.reason or '')}"
        if verdict.key is not None:
            yield f"    key: {printable(verdict.key)}"
        if (group := verdict.group) is not None:
            last = ", the last of its transaction" if group.is_last else ""
            yield f"    group {group.number}: {counted(group.events, 'event')} in {group.bytes:,} bytes{last}"
        for name, value in verdict.headers.items():
            yield f"    header {printable(name)}: {printable(value)}"

    def _event(self, verdict: Verdict) -> Iterator[str]:
        body = verdict.payload if verdict.payload is not None else verdict.event
        if body is not None:
            try:
                yield "\n".join(f"    {line}" for line in self._writer.text(read_event(bytes(body))).splitlines())
            except msgspec.MsgspecError:  # of another shape
                yield f"    {short(body, 400)}"
        elif verdict.payload_base64 is not None:
            try:
                event = read_event(verdict.payload_base64, verdict.headers.get)
            except msgspec.MsgspecError:
                pass
            else:
                yield "\n".join(f"    {line}" for line in self._writer.text(event).splitlines())
                return
            yield f"    body: {counted(len(verdict.payload_base64), 'byte')} that are no JSON"
