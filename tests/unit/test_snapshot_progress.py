"""What the status says of runs, by the control events that are stored."""

from __future__ import annotations

from structlog.testing import capture_logs

from ditto.formats.snapshot_events import Control
from ditto.monitoring.snapshot_status import SnapshotStatus
from ditto.pipeline.snapshots.progress import Progress
from ditto.pipeline.snapshots.requests import Cancel, Pause, Resume, Start
from ditto.pipeline.snapshots.runs import Current, Runs

TIME = "2026-01-02T03:04:05Z"
TABLES = [("public", "a"), ("public", "b")]


class Told:
    """Runs, and the status that is told of them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs = Runs()
        self.status = SnapshotStatus()
        self.progress = Progress(self.status, clock=lambda: self.now)

    def tell(self, *controls: Control) -> None:
        for each in controls:
            self.progress.told(each, self.runs, TIME)

    def started(self, run: str = "r") -> Current:
        self.tell(self.runs.requested(Start((), run=run), run))
        self.runs.resolved(run, TABLES)
        self.progress.resume(self.runs)
        current = self.runs.current()
        assert current is not None
        return current

    def states(self, run: str = "r") -> tuple[str, list[str]]:
        found = self.status.find(run)
        assert found is not None
        return found.state, [each.state for each in found.tables]


def test_a_run_whose_tables_are_read() -> None:
    told = Told()
    first = told.started()
    assert told.states() == ("waiting", ["queued", "queued"])
    told.progress.begin("r", "public", "a", estimated_rows=10)
    told.tell(told.runs.begun(first, key=("id",)))
    assert told.states() == ("reading", ["waiting", "queued"])
    told.progress.reading()
    for _ in range(3):
        told.progress.stored(100, 1000)
        told.now += 1
    (run,) = told.status.unended()
    assert (run.tables[0].rows_per_s, run.tables[0].bytes, run.remaining_rows) == (150, 3000, 10)
    told.tell(told.runs.advanced(first, rows=300, cursor=("300",), moved=()))
    told.tell(*told.runs.ended(first, "done"))
    assert told.states() == ("reading", ["done", "queued"])
    second = told.runs.current()
    assert second is not None
    told.tell(*told.runs.ended(second, "done"))
    assert told.states() == ("done", ["done", "done"])
    assert run.rows == 300


def test_a_run_that_is_cancelled_stays_so_when_its_reader_goes_on() -> None:
    told = Told()
    told.tell(told.runs.begun(told.started(), key=("id",)))
    told.progress.begin("r", "public", "a", estimated_rows=10)
    told.tell(told.runs.requested(Cancel("r"), "r"))
    told.progress.begin("r", "public", "a", estimated_rows=10)
    told.progress.reading()
    told.progress.waiting([])
    told.progress.retrying("the connection is lost")
    assert told.states() == ("cancelled", ["cancelled", "cancelled"])


def test_a_table_that_fails_before_it_has_begun_fails_its_run_at_the_end() -> None:
    told = Told()
    told.tell(*told.runs.ended(told.started(), "failed", reason="no SELECT", hint="grant it"))
    second = told.runs.current()
    assert second is not None
    with capture_logs() as logged:
        told.tell(*told.runs.ended(second, "done"))
    assert told.states() == ("failed", ["failed", "done"])
    (run,) = told.status.runs
    assert (run.tables[0].reason, run.tables[0].hint) == ("no SELECT", "grant it")
    finished = {"event": "snapshot.finished", "log_level": "warning", "run": "r", "failed_tables": 1}
    assert logged[-1] == {**finished, "failed": "public.a"}


def test_a_run_was_requested_when_its_request_was_committed() -> None:
    told = Told()
    told.tell(told.runs.requested(Start((), run="r"), "r", at="2026-01-01T00:00:00Z"))
    assert told.status.runs[0].requested_at == "2026-01-01T00:00:00Z"
    later = Told()  # the next session, of another process
    later.runs = Runs(told.runs.open)
    later.progress.resume(later.runs)
    assert later.status.runs[0].requested_at == "2026-01-01T00:00:00Z"


def test_a_request_that_is_refused_does_not_end_the_open_run_of_its_name() -> None:
    told = Told()
    told.started()
    told.tell(told.runs.requested(Start((), run="r"), "r"))
    assert told.states()[0] == "waiting"
    told.tell(told.runs.requested(Pause("r"), ""))
    assert told.states()[0] == "paused"
    told.tell(told.runs.requested(Resume(""), ""))
    assert told.states()[0] == "waiting"
    told.tell(told.runs.requested(Cancel(""), ""))
    assert told.states() == ("cancelled", ["cancelled", "cancelled"])
    told.tell(told.runs.requested(Cancel(""), ""))
    assert told.states() == ("cancelled", ["cancelled", "cancelled"])


def test_a_run_that_is_paused_and_resumed_between_two_chunks_is_being_read() -> None:
    told = Told()
    first = told.started()
    told.progress.begin("r", "public", "a", estimated_rows=10)
    told.tell(told.runs.begun(first, key=("id",)))
    told.progress.reading()
    for _ in range(3):
        told.progress.stored(100, 1000)
        told.now += 1
    told.tell(told.runs.requested(Pause("r"), ""))
    (run,) = told.status.unended()
    assert (run.state, run.tables[0].rows_per_s) == ("paused", None), "no rate of a run that stands still"
    told.tell(told.runs.requested(Resume("r"), ""))
    assert told.states() == ("reading", ["reading", "queued"])
    told.tell(*told.runs.ended(first, "done"))
    told.tell(told.runs.requested(Pause("r"), ""))
    told.tell(told.runs.requested(Resume("r"), ""))
    assert told.states() == ("waiting", ["done", "queued"])


def test_the_tables_that_have_not_begun_count_in_what_is_left() -> None:
    told = Told()
    told.started()
    told.progress.estimated("r", {("public", "b"): 500})
    told.progress.begin("r", "public", "a", estimated_rows=10)
    told.progress.estimated("r", {("public", "a"): 99, ("public", "b"): 99})
    told.progress.estimated("gone", {("public", "b"): 1})
    (run,) = told.status.unended()
    assert [each.estimated_rows for each in run.tables] == [10, 500], "the first look is kept, and the table's own wins"
    assert run.remaining_rows == 510


def test_a_run_that_is_refused_has_the_reason() -> None:
    told = Told()
    told.tell(told.runs.requested(Start(("nowhere",), run="r"), "r"))
    told.tell(told.runs.refused("r", "no table is in nowhere"))
    (run,) = told.status.runs
    assert (run.state, run.reason, run.is_ended) == ("failed", "no table is in nowhere", True)
