"""The display of the demonstration: live on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from ditto.units import counted, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ditto.demo.sample import Sample

SAMPLES_SHOWN = 8
PLAIN_PERIOD_S = 2.0
ACTION_STYLES = {"INSERT": "green", "UPDATE": "yellow", "DELETE": "red", "TRUNCATE": "magenta", "READ": "cyan"}


@dataclass(kw_only=True)
class Status:
    seconds: float
    total_seconds: float | None
    """How long it will go on; None: until stopped."""
    transactions: int
    rows: int
    events: int
    lag_bytes: int


class Screen(Protocol):
    def step(self, text: str) -> None:
        """Say what comes next."""

    def progress(self, name: str, done: float, total: float) -> None:
        """Of the step `name`; a new name ends the one before."""

    def status(self, status: Status) -> None: ...

    def sample(self, sample: Sample) -> None: ...

    def table(self, rows: Sequence[tuple[str, str]]) -> None: ...

    def close(self) -> None: ...


def open_screen() -> Screen:
    console = Console(highlight=False)
    return TerminalScreen(console) if console.is_terminal else PlainScreen(console)


class PlainScreen:
    """Lines without control codes, a few for each step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at: dict[str, float] = {}

    def step(self, text: str) -> None:
        self._print(text)

    def progress(self, name: str, done: float, total: float) -> None:
        if done >= total or self._is_due(name):
            self._print(f"{name}: {100 * done / total if total else 100:.0f} %")

    def status(self, status: Status) -> None:
        if self._is_due("status"):
            self._print(
                f"{status.seconds:5.1f} s  {counted(status.transactions, 'transaction')}  "
                f"{counted(status.rows, 'row')}  "
                f"{counted(status.events, 'event')} stored  lag {size(status.lag_bytes)}"
            )

    def sample(self, sample: Sample) -> None:
        if self._is_due("sample"):
            self._print(f"        {sample.subject} {sample.action} {_cut(sample.text, 100)}")

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self._print(f"{name:<{width}}  {value}")

    def close(self) -> None:
        pass

    def _print(self, line: str) -> None:
        # Not wrapped to an assumed width; flushed, so that a reader gets each line at once.
        self._console.print(line, markup=False, soft_wrap=True)
        self._console.file.flush()

    def _is_due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._said_at.get(what, 0.0) < PLAIN_PERIOD_S:
            return False
        self._said_at[what] = now
        return True


class TerminalScreen:
    """Steps scroll; below them are a bar, the counts and the newest samples."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), console=console
        )
        self._task: TaskID | None = None
        self._name = ""
        self._status: Status | None = None
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_SHOWN)
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._render, transient=True)
        self._live.start()

    def step(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)  # a command must stay one line, to be copied

    def progress(self, name: str, done: float, total: float) -> None:
        if name != self._name:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._name = self._bar.add_task(name, total=None), name
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total, visible=done < total)

    def status(self, status: Status) -> None:
        self._status = status
        if status.total_seconds:
            self.progress("Writing", min(status.seconds, status.total_seconds), status.total_seconds)

    def sample(self, sample: Sample) -> None:
        self._samples.append(sample)

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        grid = Table.grid(padding=(0, 2))
        for name, value in rows:
            grid.add_row(Text(name, style="dim"), Text(value, style="bold"))
        self._console.print(Padding(grid, (1, 2)))

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        parts: list[Progress | Padding | Text] = [self._bar] if self._task is not None else []
        if self._status is not None:
            parts.append(Padding(self._counts(self._status), (0, 2)))
        parts += [self._line(sample) for sample in self._samples]
        return Group(*parts)

    @staticmethod
    def _counts(status: Status) -> Table:
        grid = Table.grid(padding=(0, 3))
        grid.add_row(
            f"[bold]{status.transactions:,}[/] transactions",
            f"[bold]{status.rows:,}[/] rows",
            f"[bold]{status.events:,}[/] events stored",
            f"lag [bold]{size(status.lag_bytes)}[/]",
        )
        return grid

    def _line(self, sample: Sample) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"  {sample.subject:<26}", style="cyan")
        line.append(f"{sample.action:<9}", style=ACTION_STYLES.get(sample.action, ""))
        line.append(_cut(sample.text, self._console.width))
        return line


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
