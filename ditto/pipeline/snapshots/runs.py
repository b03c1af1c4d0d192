"""The runs that have not ended, and how requests and what is read change them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from ditto.decoding.change import SnapshotMark
from ditto.formats.snapshot_events import Control, OpenRun, RunState, TableState
from ditto.pipeline.snapshots.requests import Cancel, Pause, Request, Resume, Start

Table = tuple[str, str]
"""Schema and name."""


ALL: Final = "*"
"""In a control event: every open run."""


LISTED: Final = 50
"""So many tables of a run are in each control event: with thousands of tables these would be megabytes."""
MOST_BYTES: Final = 128 << 10
"""Of the open runs in a control event, when another one begins: anyone who may ask could make them megabytes."""


class Current(NamedTuple):
    """The table that is to be read now."""

    run: OpenRun
    table: Table

    @property
    def name(self) -> str:
        """`schema.table`."""
        return ".".join(self.table)


class Runs:
    """In the order in which they are read; one table at a time. Every change gives the control event that tells it."""

    def __init__(self, open_runs: Sequence[OpenRun] = (), *, most_bytes: int = MOST_BYTES) -> None:
        self._open = tuple(open_runs)
        self._most_bytes = most_bytes

    @property
    def open(self) -> tuple[OpenRun, ...]:
        """All of them."""
        return self._open

    @property
    def _told(self) -> tuple[OpenRun, ...]:
        """The same for a control event: with so many tables as a later session needs before it looks them up again."""
        return tuple(
            replace(each, tables=each.tables[:LISTED], has_more=True)
            if each.tables is not None and len(each.tables) > LISTED
            else each
            for each in self._open
        )

    def find(self, run: str) -> OpenRun | None:
        """The run with that id."""
        return next((each for each in self._open if each.run == run), None)

    @property
    def active(self) -> OpenRun | None:
        """The one whose turn it is: the first one that is not paused.

        A table that is half read comes before every other, and keeps the others waiting where its run is paused: what
        moves rows in it has to be followed until its end.
        """
        half_read = next((each for each in self._open if each.has_begun), None)
        if half_read is not None:
            return None if half_read.is_paused else half_read
        return next((each for each in self._open if not each.is_paused), None)

    def current(self) -> Current | None:
        """What is to be read now; None where nothing is, or where the tables are not looked up yet."""
        run = self.active
        return Current(run, run.tables[0]) if run is not None and run.tables else None

    def find_begun(self) -> Current | None:
        """The table that is half read, paused or not."""
        return next((Current(each, each.tables[0]) for each in self._open if each.has_begun and each.tables), None)

    def forget_places(self, hides: Callable[[Table, tuple[str, ...]], bool]) -> None:
        """Let a table begin anew where events hide a column of its key, and did not when it was begun: how far it has
        been read, and which rows have moved, are values of that key. `hides` gets the table and `OpenRun.key`.
        """
        for run in self._open:
            if run.key and run.tables and hides(run.tables[0], run.key):
                self._put(not_begun(run))

    def with_tail(self, mark: SnapshotMark | None, rows: int) -> Control | None:
        """Go on after a READ event at the tail, which is newer than the newest control event.

        The control event that tells the same is to be stored before any event: the tail is another one then.
        """
        run = None if mark is None else self.find(mark.run)
        if mark is None or run is None or not run.tables or not run.has_begun:
            return None  # what was kept beside the stream begins the table anew
        if mark.cursor is None:
            self._put(replace(run, rows=run.rows + rows))
            return None  # a table without a key begins anew
        current = Current(run, run.tables[0])
        return self.advanced(current, rows=rows, cursor=tuple(mark.cursor), moved=run.moved)

    # ------------------------------------------------------------------------------------ requests

    def requested(self, request: Request, run: str, *, at: str = "") -> Control:
        """Apply a request of this commit time; `run` is the id of a run that has none of its own."""
        if isinstance(request, Start):
            return self._started(request, request.run or run, at)
        name, state = _named(request)
        chosen = [each for each in self._open if name in {"", each.run}]
        if not chosen:
            reason = f"there is no open run {name}" if name else "there is no open run"
            return Control(run=name or ALL, state="refused", reason=reason, open=self._told)
        for each in chosen:
            if isinstance(request, Cancel):
                self._remove(each.run)
            else:
                self._put(replace(each, is_paused=isinstance(request, Pause)))
        return Control(run=name or ALL, state=state, open=self._told)

    def _started(self, request: Start, run: str, at: str) -> Control:
        if self.find(run) is not None:
            return Control(run=run, state="refused", reason=f"run {run} is open already", open=self._told)
        if request.kind == "initial" and any(each.kind == "initial" for each in self._open):
            return Control(run=run, state="refused", reason="an initial run is open already", open=self._told)
        opened = OpenRun(
            run=run,
            wanted=request.start,
            kind=request.kind,
            where=request.where,
            max_rows_per_s=request.max_rows_per_s,
            requested_at=at,
        )
        if len(msgspec.json.encode((*self._told, opened))) > self._most_bytes:
            reason = f"{len(self._open)} runs are open, and there is no room to keep this request as well"
            return Control(run=run, state="refused", reason=reason, open=self._told)
        self._open = (*self._open, opened)
        return Control(run=run, state="requested", open=self._told)

    # ------------------------------------------------------------------------------------ what is read

    def resolved(self, run: str, tables: Iterable[Table]) -> None:
        """The tables of a run are known: all, or those that are left (`OpenRun.after`)."""
        found = tuple(tables)
        if len(found) > LISTED:
            found = tuple(sorted(found))
        if (each := self.find(run)) is not None:
            self._put(replace(each, tables=found, total=each.total or len(found), has_more=False))

    def begun(self, current: Current, *, key: Sequence[str], oid: int = 0) -> Control:
        """The table begins, or begins anew; `key` is the order in which it is read."""
        run = replace(self._run(current), has_begun=True, key=tuple(key), oid=oid)
        self._put(replace(run, cursor=None, rows=0, left_out=0, moved=()))
        return self._control(current, "begun")

    def advanced(
        self,
        current: Current,
        *,
        rows: int,
        cursor: tuple[str, ...] | None,
        moved: Sequence[tuple[str, ...]],
        left_out: int = 0,
    ) -> Control:
        """A chunk is stored: so many more rows, up to this cursor; these keys are still to be read again."""
        run = self._run(current)
        rows, left_out = run.rows + rows, run.left_out + left_out
        self._put(replace(run, rows=rows, left_out=left_out, cursor=cursor or run.cursor, moved=tuple(moved)))
        return self._control(current, "reading")

    def ended(
        self, current: Current, state: TableState, *, reason: str | None = None, hint: str | None = None
    ) -> Iterator[Control]:
        """The table is done, or failed; and the run is finished where it was the last one."""
        run = self._run(current)
        rows, left_out, cursor = run.rows, run.left_out or None, run.cursor
        left = (run.tables or ())[1:]
        if left or run.has_more:
            after = None if left else current.table
            run = replace(run, tables=left or None, after=after, has_begun=False)
            self._put(replace(run, cursor=None, rows=0, left_out=0, moved=()))
        else:
            self._remove(run.run)
        schema, table = current.table
        yield Control(
            run=run.run, state=state, schema=schema, table=table, rows=rows, left_out=left_out, cursor=cursor,
            where=run.where or None, reason=reason, hint=hint, open=self._told,
        )  # fmt: skip
        if not left and not run.has_more:
            yield self.finished(run.run)

    def finished(self, run: str) -> Control:
        """Every table of the run has ended."""
        self._remove(run)
        return Control(run=run, state="finished", open=self._told)

    def refused(self, run: str, reason: str, *, hint: str | None = None) -> Control:
        """The run as a whole cannot be read."""
        self._remove(run)
        return Control(run=run, state="refused", reason=reason, hint=hint, open=self._told)

    def _run(self, current: Current) -> OpenRun:
        return self.find(current.run.run) or current.run

    def _control(self, current: Current, state: TableState) -> Control:
        run, (schema, table) = self._run(current), current.table
        return Control(
            run=run.run, state=state, schema=schema, table=table, rows=run.rows, left_out=run.left_out or None,
            cursor=run.cursor, where=run.where or None, open=self._told,
        )  # fmt: skip

    def _remove(self, run: str) -> None:
        self._open = tuple(each for each in self._open if each.run != run)

    def _put(self, run: OpenRun) -> None:
        self._open = tuple(run if each.run == run.run else each for each in self._open)


def not_begun(run: OpenRun) -> OpenRun:
    """The run where its first table has not begun yet."""
    return replace(run, has_begun=False, key=(), cursor=None, rows=0, left_out=0, moved=())


def _named(request: Pause | Resume | Cancel) -> tuple[str, RunState]:
    if isinstance(request, Pause):
        return request.pause, "paused"
    if isinstance(request, Resume):
        return request.resume, "resumed"
    return request.cancel, "cancelled"
