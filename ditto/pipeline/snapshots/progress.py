"""What is told about snapshots while they are read: the status, and a line in the log for each step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from ditto.formats.snapshot_events import Control, OpenRun
from ditto.monitoring.snapshot_status import RunStatus, SnapshotStatus, TableStatus
from ditto.pipeline.snapshots.runs import ALL, Runs, Table
from ditto.source.blockers import Blocker

log = structlog.get_logger()

_RATE_S: Final = 5.0
"""Rows a second are those of the last so many seconds."""
_SHOWN: Final = 5
"""Tables that failed, in a line of the log."""


class Progress:
    """Writes the status of one pipeline. `clock` gives monotonic seconds."""

    def __init__(self, status: SnapshotStatus, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._status = status
        self._clock = clock
        self._table: TableStatus | None = None
        self._marks: deque[tuple[float, int]] = deque()

    def resume(self, runs: Runs) -> None:
        """A session goes on with these."""
        for each in runs.open:
            self._run(each, requested_at=each.requested_at or _now())

    def told(self, control: Control, runs: Runs, commit_time: str) -> None:
        """A control event is about to be stored."""
        for each in runs.open:
            self._run(each, requested_at=each.requested_at or commit_time)
        if control.table is None:
            self._tell_run(control, runs)
        else:
            self._tell_table(control)
        self._status.trim()

    def _tell_run(self, control: Control, runs: Runs) -> None:
        ended = {"cancelled": "cancelled", "finished": "done", "refused": "failed"}.get(control.state)
        for run in [each for each in self._status.unended() if control.run in {ALL, each.run}]:
            if ended is None or runs.find(run.run) is not None:  # another request about an open run may be refused
                continue
            has_failed = any(table.state == "failed" for table in run.tables)
            run.state = "failed" if ended == "done" and has_failed else ended  # type: ignore[assignment]
            run.reason, run.hint = control.reason, control.hint
            for table in run.tables:
                if not table.is_ended:
                    table.state, table.ended_at, table.waits_for = "cancelled", _now(), None
                    table.reason = control.reason
        if control.state == "finished":
            self._log_finished(control.run)

    def _log_finished(self, run: str) -> None:
        found = self._status.find(run)
        failed = [f"{each.schema}.{each.table}" for each in found.tables if each.state == "failed"] if found else []
        if failed:
            shown = ", ".join(failed[:_SHOWN]) + (f" and {len(failed) - _SHOWN:,} more" if len(failed) > _SHOWN else "")
            log.warning("snapshot.finished", run=run, failed_tables=len(failed), failed=shown)
        else:
            log.info("snapshot.finished", run=run)

    def _tell_table(self, control: Control) -> None:
        table = self._find(control)
        if table is None:
            return
        table.rows, table.left_out = control.rows or 0, control.left_out or 0
        fields = {"run": control.run, "table": f"{control.schema}.{control.table}"}
        if control.state == "begun":
            table.state, table.began_at, table.bytes = "waiting", _now(), 0
            log.info("snapshot.begun", **fields)
        elif control.state != "reading":
            table.state, table.ended_at = ("done" if control.state == "done" else "failed"), _now()
            table.waits_for, table.rows_per_s = None, None
            table.reason, table.hint = control.reason, control.hint
            if control.state == "done":
                left_out = {} if control.left_out is None else {"left_out": control.left_out}
                log.info("snapshot.done", rows=control.rows, **left_out, **fields)

    def estimated(self, run: str, rows: Mapping[Table, int]) -> None:
        """About so many rows have the tables of this run; each is looked at again when it is its turn."""
        found = self._status.find(run)
        for table in found.tables if found is not None else ():
            if not table.is_ended and table.estimated_rows is None:
                table.estimated_rows = rows.get((table.schema, table.table))

    # ------------------------------------------------------------------------------------ the table that is read

    def begin(self, run: str, schema: str, table: str, *, estimated_rows: int | None) -> None:
        """This table is looked at now."""
        found = self._status.find(run)
        self._table = next((each for each in found.tables if (each.schema, each.table) == (schema, table)), None) if (
            found is not None
        ) else None  # fmt: skip
        self._marks.clear()
        if found is not None and not found.is_ended:
            found.state = "reading"
        if self._table is not None:
            self._table.estimated_rows = estimated_rows

    def waiting(self, waits: Sequence[Blocker]) -> None:
        """The table waits for these transactions."""
        if (table := self._unended()) is not None:
            table.state = "waiting" if waits else "reading"
            table.waits_for = ", ".join(each.text for each in waits[:3]) or None

    def retrying(self, reason: str) -> None:
        """Reading has failed, and is tried again."""
        if (table := self._unended()) is not None:
            table.state, table.waits_for = "waiting", reason

    def reading(self) -> None:
        """Rows are read."""
        if (table := self._unended()) is not None:
            table.state, table.waits_for = "reading", None

    def stored(self, rows: int, size: int) -> None:
        """So many rows were sent."""
        table = self._table
        if table is None:
            return
        table.bytes += size
        now = self._clock()
        self._marks.append((now, rows))
        while self._marks and now - self._marks[0][0] > _RATE_S:
            self._marks.popleft()
        seconds = now - self._marks[0][0]
        if seconds > 0:
            table.rows_per_s = round(sum(count for _, count in self._marks) / seconds, 1)

    # ------------------------------------------------------------------------------------ internals

    def _unended(self) -> TableStatus | None:
        """The table that is read: none where its run was cancelled while the reader was on its way."""
        return None if self._table is None or self._table.is_ended else self._table

    def _find(self, control: Control) -> TableStatus | None:
        run = self._status.find(control.run)
        names = (control.schema, control.table)
        return None if run is None else next((each for each in run.tables if (each.schema, each.table) == names), None)

    def _run(self, opened: OpenRun, *, requested_at: str) -> None:
        run = self._status.find(opened.run)
        if run is None or run.is_ended:
            run = RunStatus(
                run=opened.run,
                kind=opened.kind,
                requested_at=requested_at,
                where=opened.where or None,
                max_rows_per_s=opened.max_rows_per_s or None,
            )
            self._status.runs.append(run)
        if opened.is_paused:
            run.state = "paused"
            for each in run.tables:
                each.rows_per_s = None
        elif run.state == "paused":
            # A run that is paused and resumed between two chunks goes on without a new beginning.
            is_read = any(each is self._table and not each.is_ended for each in run.tables)
            run.state = "reading" if is_read else "waiting"
        known = {(each.schema, each.table) for each in run.tables}
        run.tables += [
            TableStatus(schema=schema, table=table)
            for schema, table in opened.tables or ()
            if (schema, table) not in known
        ]
        if opened.tables and (opened.rows or opened.left_out):
            first = next(each for each in run.tables if (each.schema, each.table) == opened.tables[0])
            first.rows, first.left_out = opened.rows, opened.left_out


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
