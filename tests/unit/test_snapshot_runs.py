"""Runs of snapshots: requests, states, and where the next session goes on."""

from __future__ import annotations

import msgspec
import pytest

from ditto.decoding.change import SnapshotMark
from ditto.decoding.event_id import event_id, event_key
from ditto.formats.snapshot_events import (
    Control,
    ControlEvent,
    OpenRun,
    newest_runs,
    read_control,
    read_mark,
)
from ditto.lsn import Position
from ditto.pipeline.snapshots.requests import Cancel, Pause, Resume, Start, parse_request
from ditto.pipeline.snapshots.runner import choose
from ditto.pipeline.snapshots.runs import LISTED, Runs

KEY = event_key("7", "s")
TIME = "2026-01-01T00:00:00.000001Z"
TABLES = [("public", "trades"), ("public", "accounts"), ("audit", "trades")]


def control_event(control: Control, lsn: int) -> bytes:
    event = ControlEvent(id=event_id(Position(lsn, 1), KEY), snapshot=control, commit_time=TIME)
    return msgspec.json.encode(event)


def active(runs: Runs) -> str | None:
    return None if runs.active is None else runs.active.run


@pytest.mark.parametrize(
    ("content", "request_"),
    [
        (b'{"start": []}', Start(())),
        (
            b'{"start": ["public.trades"], "where": "id > 5", "max_rows_per_s": 7, "run": "a-1"}',
            Start(("public.trades",), "a-1", "id > 5", 7),
        ),
        (b'{"pause": "", "slot": "ditto_2"}', Pause("", "ditto_2")),
        (b'{"resume": "a"}', Resume("a")),
        (b'{"cancel": "a"}', Cancel("a")),
    ],
)
def test_requests(content: bytes, request_: object) -> None:
    assert parse_request(content) == request_


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"start", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"{}", "exactly one of"),
        (b'{"start": [], "pause": ""}', "exactly one of"),
        (b'{"start": "trades"}', "cannot be read"),
        (b'{"start": [], "wher": ""}', "cannot be read"),
        (b'{"start": [" "]}', "empty table name"),
        (b'{"start": ["."]}', "empty table name"),
        (b'{"start": ["public."]}', "empty table name"),
        (b'{"start": [".trades"]}', "empty table name"),
        (b'{"start": ["a", "public.' + b"x" * 250 + b'"]}', "255 bytes"),
        (b'{"start": ["public.\\u0000"]}', "NUL"),
        (b'{"start": ["a"], "where": "' + b"x" * 10_001 + b'"}', "10,000 characters"),
        (b'{"cancel": "' + b"x" * 41 + b'"}', "names no run"),
        (b'{"pause": "a.b"}', "names no run"),
        (b'{"start": [], "run": "a b"}', "letters, digits"),
        (b'{"start": [], "where": "true"}', "exactly one table"),
        (b'{"start": ["a"], "max_rows_per_s": -1}', "negative"),
        (b'{"start": ["' + b"a" * 70_000 + b'"]}', "bytes"),
        (b'{"start": ' + b'{"a":' * 9_000, "not a JSON object"),
        (b'{"start": ["\\u0000"]}', "NUL"),
        (b'{"start": ["\xff"]}', "not UTF-8"),
    ],
)
def test_requests_that_are_none(content: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_request(content)


def test_a_run_from_its_request_to_its_end() -> None:
    runs = Runs()
    assert runs.requested(Start(("trades",), where="id > 1"), "1A-2").state == "requested"
    assert runs.active is not None
    assert runs.current() is None, "its tables are not looked up yet"
    runs.resolved("1A-2", TABLES[:2])
    current = runs.current()
    assert current is not None
    assert (current.name, current.run.where, current.run.total) == ("public.trades", "id > 1", 2)
    begun = runs.begun(current, key=("id",))
    assert begun.open[0].has_begun
    assert begun.where == "id > 1", "a consumer drops no rows at its end"
    told = runs.advanced(current, rows=5, cursor=("9",), moved=[("4",)])
    assert (told.state, told.rows, told.cursor) == ("reading", 5, ("9",))
    assert (told.open[0].rows, told.open[0].cursor, told.open[0].moved) == (5, ("9",), (("4",),))
    assert (told.left_out, told.open[0].left_out) == (None, 0)
    assert runs.advanced(current, rows=2, cursor=None, moved=(), left_out=3).open[0].cursor == ("9",)
    (done,) = runs.ended(current, "done")
    assert (done.state, done.rows, done.left_out) == ("done", 7, 3)
    following = runs.current()
    assert following is not None
    assert (following.name, following.run.has_begun, following.run.cursor, following.run.rows) == (
        "public.accounts", False, None, 0,
    )  # fmt: skip
    assert following.run.left_out == 0
    failed, finished = runs.ended(following, "failed", reason="gone")
    assert (failed.state, failed.reason, finished.state, finished.open) == ("failed", "gone", "finished", ())
    assert runs.current() is None


def test_control_events_list_some_tables_and_the_others_are_looked_up_again() -> None:
    runs = Runs()
    runs.requested(Start((), run="a"), "x")
    tables = [("public", f"t{number:03}") for number in range(LISTED + 2)]
    runs.resolved("a", reversed(tables))
    current = runs.current()
    assert current is not None
    assert current.table == tables[0]
    told = runs.begun(current, key=()).open[0]
    assert (told.tables, told.has_more, told.total) == (tuple(tables[:LISTED]), True, LISTED + 2)
    later = Runs([told])
    for _ in range(LISTED):
        current = later.current()
        assert current is not None
        (done,) = later.ended(current, "done")
    assert (done.open[0].tables, done.open[0].after) == (None, tables[LISTED - 1])
    assert later.current() is None
    later.resolved("a", tables[LISTED:])
    current = later.current()
    assert current is not None
    assert (current.table, current.run.has_more, current.run.total) == (tables[LISTED], False, LISTED + 2)
    list(later.ended(current, "done"))
    current = later.current()
    assert current is not None
    assert [each.state for each in later.ended(current, "done")] == ["done", "finished"]


def test_pausing_gives_the_turn_to_the_next_run() -> None:
    runs = Runs()
    for run in ("a", "b"):
        runs.requested(Start((), run=run), "x")
        runs.resolved(run, TABLES)
    assert runs.requested(Pause("a"), "x").state == "paused"
    current = runs.current()
    assert current is not None
    assert current.run.run == "b"
    paused_all = runs.requested(Pause(""), "x")
    assert (paused_all.run, runs.current()) == ("*", None)
    runs.requested(Resume("a"), "x")
    current = runs.current()
    assert current is not None
    assert current.run.run == "a"
    assert runs.requested(Cancel(""), "x").open == ()


def test_a_table_that_is_half_read_keeps_the_others_waiting() -> None:
    runs = Runs()
    for run in ("a", "b"):
        runs.requested(Start((), run=run), "x")
        runs.resolved(run, TABLES)
    runs.requested(Pause("a"), "x")
    current = runs.current()
    assert current is not None
    runs.begun(current, key=("id",))
    runs.requested(Resume("a"), "x")
    assert active(runs) == "b"
    runs.requested(Pause("b"), "x")
    assert active(runs) is None
    assert runs.find_begun() is not None
    runs.requested(Resume("b"), "x")
    assert len(list(runs.ended(current, "done"))) == 1
    assert active(runs) == "a"


def test_requests_that_are_refused() -> None:
    runs = Runs()
    refused = runs.requested(Pause("a"), "x")
    assert (refused.state, refused.reason) == ("refused", "there is no open run a")
    runs.requested(Start((), run="a"), "x")
    assert runs.requested(Start((), run="a"), "x").state == "refused"
    runs.requested(Start((), kind="initial"), "i1")
    assert runs.requested(Start((), kind="initial"), "i2").state == "refused"
    assert [each.run for each in runs.open] == ["a", "i1"]


def test_a_row_at_the_tail_is_newer_than_the_newest_control_event() -> None:
    opened = OpenRun(run="a", tables=(("public", "t"),), has_begun=True, cursor=("5",), rows=5)
    runs = Runs([opened])
    assert runs.with_tail(SnapshotMark("other", ["7"]), 2) is None
    assert runs.open == (opened,)
    control = runs.with_tail(SnapshotMark("a", ["7"]), 2)
    assert (runs.open[0].cursor, runs.open[0].rows) == (("7",), 7)
    assert control is not None
    assert (control.state, control.rows, control.cursor, control.open) == ("reading", 7, ("7",), runs.open)


def test_the_newest_control_event_decides_wherever_it_is() -> None:
    runs = Runs()
    payloads = []
    for number in range(4):
        control = runs.requested(Start((), run=f"r{number}"), "x")
        payloads.append(control_event(control, 0x100 * (number + 1)))
    foreign = payloads[3].replace(payloads[3][7:12], b"00000")
    found = newest_runs([payloads[2], b'{"id":"x"}', payloads[0], foreign, b""], KEY)
    assert [each.run for each in found] == ["r0", "r1", "r2"]
    assert newest_runs([], KEY) == ()


def test_control_events_and_marks_are_told_apart() -> None:
    control = Control(state="reading", run="a", schema="public", table="t", rows=1, cursor=('"x"',))
    payload = control_event(control, 0x100)
    assert read_control(payload) == control
    assert read_mark(payload) is None
    row = (
        b'{"id":"x","schema":"public","table":"t","action":"READ","data":{"j":{"snapshot":{"run":"no","cursor":["0"]}}},'
        b'"dataOld":{},"commitTime":"z","snapshot":{"run":"a","cursor":["\\"snapshot\\":","2"]}}'
    )
    assert read_mark(row) == SnapshotMark("a", ['"snapshot":', "2"])
    assert read_control(row) is None
    change = b'{"id":"x","data":{"j":{"snapshot":{"run":"no","cursor":["0"]}}},"dataOld":{},"commitTime":"z"}'
    assert read_mark(change) is None


def test_tables_are_chosen_by_names_and_globs() -> None:
    assert choose((), TABLES) == TABLES
    assert choose(("trades",), TABLES) == [TABLES[0], TABLES[2]]
    assert choose(("audit.*", "public.accounts"), TABLES) == [TABLES[2], TABLES[1]]
    assert choose(("public.missing", "lost", "no*"), TABLES) == [("public", "missing"), ("public", "lost")]


def test_a_request_for_which_there_is_no_room_is_refused() -> None:
    runs = Runs(most_bytes=300)
    assert runs.requested(Start(("t" * 100,), "a"), "").state == "requested"
    refused = runs.requested(Start(("t" * 200,), "b"), "")
    assert (refused.state, refused.run) == ("refused", "b")
    assert "1 runs are open" in (refused.reason or "")
    assert [each.run for each in refused.open] == ["a"]
    assert runs.requested(Cancel("a"), "").state == "cancelled"
    assert runs.requested(Start(("t" * 200,), "b"), "").state == "requested"
