"""`ditto snapshot status --watch`: follows runs until they have ended, with a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final, Protocol

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from ditto.cli.options import echo_json, say
from ditto.cli.snapshot_display import STYLES, progress
from ditto.errors import DittoError
from ditto.monitoring.snapshot_changes import GRACE_S
from ditto.monitoring.snapshot_status import RunStatus, TableStatus
from ditto.monitoring.status_client import NoAnswer
from ditto.monitoring.status_document import Snapshots
from ditto.printable_text import printable

_FORGOTTEN_LOOKS: Final = 3
_BAD: Final = frozenset({"failed", "cancelled"})


class Watch:
    """`look` asks the Ditto; `clock` and `sleep` are those of `time`. `again` are the options for another command."""

    def __init__(
        self,
        look: Callable[[], Snapshots],
        screen: Screen,
        *,
        period_s: float,
        again: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._look = look
        self._screen = screen
        self._period_s = period_s
        self._again = again
        self._clock = clock
        self._sleep = sleep
        self._wanted: list[str] = []

    def follow(self, run: str | None) -> bool:
        """Until that run has ended, or each that has not ended now; returns whether none has failed or was cancelled.

        Raises what the first look raises; later ones are tried again. A run that Ditto has forgotten raises DittoError.
        """
        self._wanted = [] if run is None else [run]
        with closing(self._screen):
            try:
                return self._follow()
            except KeyboardInterrupt:
                self._screen.close()
                say(self._farewell())
                raise

    def _farewell(self) -> str:
        told = "Not watched any more, and nothing else has changed."
        lines = [f"  to end it: ditto snapshot cancel {each}{self._again}" for each in self._wanted]
        return "\n".join([told, *lines])

    def _follow(self) -> bool:
        last_chance = self._clock() + GRACE_S
        found: Snapshots | None = None
        seen: set[str] = set()
        forgotten_looks = 0
        while True:
            found = self._next(is_first=found is None)
            self._wanted = self._wanted or [each.run for each in found.runs if not each.is_ended]
            if not self._wanted and self._clock() > last_chance:
                self._screen.say(_nothing(found))
                return True
            runs = [each for each in found.runs if each.run in self._wanted]
            missing = set(self._wanted) - {each.run for each in runs}
            self._screen.show(found, runs, missing)
            if self._wanted and not missing and all(each.is_ended for each in runs):
                return not any(each.state in _BAD for each in runs)
            forgotten_looks = forgotten_looks + 1 if found.knows_all and missing & seen else 0
            if forgotten_looks >= _FORGOTTEN_LOOKS:
                raise DittoError(
                    f"run {min(missing & seen)} has ended, and this Ditto does not know how: it was started since",
                    hint="the last message on the stream's _snapshot subjects tells (ditto tail --last)",
                )
            seen |= {each.run for each in runs}
            self._sleep(self._period_s)

    def _next(self, *, is_first: bool) -> Snapshots:
        """The next look; waits for a Ditto that does not answer, unless this is the first look."""
        is_lost = False
        while True:
            try:
                return self._look()
            except NoAnswer as error:
                if is_first:
                    raise
                if not is_lost:
                    self._screen.say(f"{printable(error.message)}; waiting for it to come back")
                is_lost = True
                self._sleep(self._period_s)


def _nothing(found: Snapshots) -> str:
    if not found.knows_all:
        return f"This Ditto does not stream ({found.state}): the one that does knows the snapshots."
    return "No snapshot runs."


class Screen(Protocol):
    """Where the runs are shown."""

    def show(self, found: Snapshots, runs: Sequence[RunStatus], missing: set[str]) -> None:
        """The present state of the runs that are watched, and those that Ditto has not come to yet."""

    def say(self, text: str) -> None:
        """A sentence."""

    def close(self) -> None:
        """The last call; it may come twice."""


def open_screen(console: Console | None = None, *, is_json: bool) -> Screen:
    """The screen for standard output."""
    console = console or Console(highlight=False)
    if is_json:
        return JsonScreen()
    return TerminalScreen(console) if console.is_terminal else PlainScreen()


class JsonScreen:
    """A JSON object a look, on one line."""

    def show(self, found: Snapshots, runs: Sequence[RunStatus], _missing: set[str]) -> None:
        echo_json(msgspec.json.encode(msgspec.structs.replace(found, runs=list(runs))))

    def say(self, text: str) -> None:
        say(text)

    def close(self) -> None:
        """Nothing is open."""


class _News:
    """The tables and runs that have ended since the last look, as lines."""

    def __init__(self) -> None:
        self._told: set[tuple[str, ...]] = set()

    def of(self, runs: Sequence[RunStatus]) -> list[tuple[str, str]]:
        """Each line with its style."""
        lines = []
        for run in runs:
            lines += [
                (f"{_name(table)}: {_outcome(table)}", STYLES[table.state])
                for table in run.tables
                if table.is_ended and self._is_new(run.run, table.schema, table.table)
            ]
            if run.is_ended and self._is_new(run.run):
                lines.append((f"run {run.run}: {_outcome(run)}", STYLES[run.state]))
        return lines

    def waiting(self, missing: set[str]) -> list[str]:
        """Once for each."""
        return [
            f"run {each}: Ditto has not come to the request yet" for each in sorted(missing) if self._is_new("", each)
        ]

    def _is_new(self, *what: str) -> bool:
        is_new = what not in self._told
        self._told.add(what)
        return is_new


class PlainScreen:
    """A line where something has changed."""

    def __init__(self) -> None:
        self._news = _News()
        self._last: dict[str, str] = {}

    def show(self, found: Snapshots, runs: Sequence[RunStatus], missing: set[str]) -> None:
        for line in self._news.waiting(missing):
            click.echo(line)
        for line, _ in self._news.of(runs):
            click.echo(line)
        for run in runs:
            if not run.is_ended and self._last.get(run.run) != (line := _line(run)):
                self._last[run.run] = line
                click.echo(f"run {run.run}: {line}")

    def say(self, text: str) -> None:
        say(text)

    def close(self) -> None:
        """Nothing is open."""


class TerminalScreen:
    """A bar for each run; what has ended scrolls away above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._news = _News()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=10),  # with it a usual line fits into 80 columns
            TextColumn("{task.fields[line]}", markup=False),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def show(self, found: Snapshots, runs: Sequence[RunStatus], missing: set[str]) -> None:
        for line in self._news.waiting(missing):
            self.say(line)
        for line, style in self._news.of(runs):
            self._console.print(Text(line, style=style), soft_wrap=True)
        for run in runs:
            if run.run not in self._tasks:
                self._tasks[run.run] = self._bars.add_task("", line="", total=None)
            rows = run.rows
            total = rows + run.remaining_rows
            self._bars.update(
                self._tasks[run.run],
                description=run.run if len(runs) > 1 else "",
                completed=rows,
                total=total or None,
                line=_line(run),
                visible=not run.is_ended,
            )
        self._bars.refresh()

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        self._bars.stop()


def _line(run: RunStatus) -> str:
    """The present state: `public.trades, 1,200 of about 5,000 rows, 800 rows/s, 5 s left, table 2 of 3`."""
    current = run.current
    ended = sum(each.is_ended for each in run.tables)
    parts = [
        run.state if run.state != "reading" else "",
        "" if current is None else _name(current),
        progress(run),
        f"waits for {printable(current.waits_for)}" if current is not None and current.waits_for else "",
        f"table {ended + 1:,} of {len(run.tables):,}" if current is not None and len(run.tables) > 1 else "",
    ]
    return ", ".join(part for part in parts if part)


def _name(table: TableStatus) -> str:
    return f"{printable(table.schema)}.{printable(table.table)}"


def _outcome(what: RunStatus | TableStatus) -> str:
    reason = f": {printable(what.reason)}" if what.reason else ""
    return f"{what.state}, {progress(what)}{reason}"
