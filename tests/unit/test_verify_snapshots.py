"""READ events and control events in a replay: a copy is what the table was when its snapshot ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ditto.formats.stored_events import read_event
from ditto.lsn import Position
from ditto.sinks.base import MessageKind, ReadMessage
from ditto.verify.replay import Replay, Replaying
from ditto.verify.tables import KeyedCopy, KeylessCopy, TableCopy, copy_for

EVENT_ID = "b0180ac7-4d9d-850d-b249-66b69f1201e6"
TIME = "2026-01-02T03:04:05.000006Z"


def change(action: str, new: Any = None, old: Any = None, **more: Any) -> bytes:
    event = {
        "id": EVENT_ID,
        "schema": "public",
        "table": "t",
        "action": action,
        "data": new or {},
        "dataOld": old or {},
    }
    return json.dumps({**event, "commitTime": TIME, **more}, separators=(",", ":")).encode()


def control(state: str, *, where: str = "", kind: str = "request", **about: Any) -> bytes:
    """Of run `r`, which is open until it is done."""
    opened = [] if state in {"done", "finished"} else [{"run": "r", "where": where, "kind": kind}]
    named = {"schema": "public", "table": "t"} if state in {"begun", "reading", "done", "failed"} else {}
    given = {"where": where} if where and named else {}
    snapshot = {"state": state, "run": "r", **named, **given, **about, "open": opened}
    return json.dumps({"id": EVENT_ID, "snapshot": snapshot, "commitTime": TIME}, separators=(",", ":")).encode()


def replayed(*payloads: bytes, key: tuple[str, ...] = ("id",)) -> Replay:
    reader = Replaying({("public", "t"): key})
    for number, payload in enumerate(payloads, start=1):
        is_control = b'"snapshot":{"state"' in payload
        kind = MessageKind.CONTROL if is_control else MessageKind.EVENT
        reader.apply(ReadMessage(number, kind, payload, position=Position(8 * number, 1), stored_at=0.0))
    assert reader.replay.differences == []
    return reader.replay


def rows(replay: Replay) -> list[Any]:
    return sorted((json.loads(each.row) for each in table(replay).rows()), key=str)


def table(replay: Replay) -> TableCopy:
    return replay.tables["public", "t"]


def faults(replay: Replay) -> list[str]:
    return [each.kind for each in table(replay).faults]


def test_a_read_row_takes_the_place_of_the_one_that_was_there() -> None:
    found = replayed(
        change("INSERT", {"id": 1, "n": 1, "big": "x"}),
        change("READ", {"id": 1, "n": 2}),
        change("READ", {"id": 2, "n": 5}, snapshot={"run": "r", "cursor": ["2"]}),
        change("UPDATE", {"id": 2, "n": 6}),
    )
    assert rows(found) == [{"id": 1, "n": 2}, {"id": 2, "n": 6}]
    assert (found.events, found.reads, len(found.latencies_s), faults(found)) == (2, 2, 2, [])
    assert [each.is_read for each in table(found).rows()] == [True, False]


def test_what_came_before_the_row_was_read_is_explained_at_the_end() -> None:
    before = (
        change("DELETE", old={"id": 7}),
        change("UPDATE", {"id": 1, "n": 1}, unchanged=["big"]),
        control("requested"),
        control("begun"),
    )
    end = change("READ", {"id": 1, "n": 1, "big": "x"}), control("done", rows=1), control("finished")
    assert faults(replayed(*before)) == ["deleted but never inserted", "updated but never inserted"]
    assert replayed(*before).open_runs == ("r",)
    found = replayed(*before, *end)
    assert (rows(found), faults(found), found.open_runs) == ([{"id": 1, "n": 1, "big": "x"}], [], ())


def test_rows_that_were_not_seen_are_dropped_at_the_end() -> None:
    found = replayed(
        change("INSERT", {"id": 1}),
        change("INSERT", {"id": 2}),
        control("begun"),
        change("INSERT", {"id": 3}),
        change("READ", {"id": 1}),
        control("reading", rows=1),
        control("done", rows=1),
        change("INSERT", {"id": 4}),
    )
    assert (rows(found), found.dropped) == ([{"id": 1}, {"id": 3}, {"id": 4}], 1)


@pytest.mark.parametrize("end", [control("failed", rows=0, reason="no SELECT"), control("reading", rows=0)])
def test_nothing_is_dropped_before_the_end(end: bytes) -> None:
    assert rows(replayed(change("INSERT", {"id": 1}), control("begun"), end)) == [{"id": 1}]


def test_a_partial_snapshot_says_nothing_of_other_rows() -> None:
    found = replayed(
        change("INSERT", {"id": 1}),
        change("DELETE", old={"id": 7}),
        control("begun", where="id > 1"),
        change("READ", {"id": 2}),
        control("done", rows=1),
    )
    assert (rows(found), found.dropped, faults(found)) == ([{"id": 1}, {"id": 2}], 0, ["deleted but never inserted"])


def test_after_a_gap_nothing_has_to_fit() -> None:
    twice = change("INSERT", {"id": 1}), change("INSERT", {"id": 1, "n": 2})
    end = change("READ", {"id": 1, "n": 3}), control("done", rows=1)
    assert faults(replayed(*twice, control("begun", kind="gap"), *end)) == []
    found = replayed(*twice, control("begun"), *end)
    assert (rows(found), faults(found)) == ([{"id": 1, "n": 3}], ["inserted twice"])


def test_without_a_key_the_first_row_that_is_read_begins_anew() -> None:
    found = replayed(
        change("INSERT", {"n": 1}),
        control("begun"),
        change("INSERT", {"n": 1}),
        change("DELETE", old={"n": 9}),
        change("READ", {"n": 1}),
        change("READ", {"n": 1}),
        control("done", rows=2),
        change("INSERT", {"n": 2}),
        key=(),
    )
    assert (rows(found), faults(found)) == ([{"n": 1}, {"n": 1}, {"n": 2}], [])
    empty = replayed(change("INSERT", {"n": 1}), control("begun"), control("done", rows=0), key=())
    assert (rows(empty), empty.dropped) == ([], 1)
    again = replayed(
        *(control("begun"), change("READ", {"n": 1})),
        *(control("begun"), change("READ", {"n": 1}), change("READ", {"n": 2}), control("done", rows=2)),
        key=(),
    )
    assert rows(again) == [{"n": 1}, {"n": 2}]


def test_what_is_no_control_event_is_a_difference() -> None:
    reader = Replaying({})
    reader.apply(ReadMessage(1, MessageKind.CONTROL, b"{}", position=Position(8, 1)))
    assert [each.kind for each in reader.replay.differences] == ["not an event"]


@pytest.mark.parametrize("key", [(), ("id",)])
def test_a_json_null_is_kept(key: tuple[str, ...]) -> None:
    copy = copy_for(key)
    copy.apply(read_event(change("READ", {"id": 1, "doc": None}, jsonNull=["doc"])), 8, "")
    assert isinstance(copy, KeyedCopy if key else KeylessCopy)
    assert [json.loads(each.row) for each in copy.rows()] == [{"id": 1, "doc": None, "": ["doc"]}]
