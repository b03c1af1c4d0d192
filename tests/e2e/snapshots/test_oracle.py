"""The oracle finds what is wrong with a stream, and nothing in one that is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ditto.lsn import Position
from e2e.snapshots.oracle import Base, Message, Oracle

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.snapshots.oracle import Row

BASE = {
    "accounts": Base(
        {"id": "integer", "n": "integer", "doc": "text"},
        ("id",),
        [{"id": str(number), "n": "0", "doc": "long"} for number in range(1, 6)],
    ),
    "journal": Base({"note": "text"}, (), [{"note": "a"}, {"note": "a"}, {"note": "b"}]),
}


class Script:
    """Makes messages, each at the next position."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def add(self, event: dict[str, Any], header: str | None = None, *, at_last_lsn: bool = False) -> None:
        number = len(self.messages) + 1
        position = Position(8 * number, 1)
        if at_last_lsn:
            position = self.messages[-1].position._replace(ordinal=number)
        self.messages.append(Message(number, position, event, header))

    def change(self, action: str, data: dict[str, Any], old: dict[str, Any] | None = None, **more: Any) -> None:
        table = "journal" if "note" in (data or old or {}) else "accounts"
        self.add({"table": table, "action": action, "data": data, "dataOld": old or {}, **more})

    def read(self, number: int | str, n: int = 0, doc: str | None = "long", *, cursor: int | None = None) -> None:
        data: dict[str, Any] = {"id": number, "n": n, "doc": doc} if isinstance(number, int) else {"note": number}
        mark: dict[str, Any] = {"run": "r"}
        if isinstance(number, int):
            mark["cursor"] = [str(number if cursor is None else cursor)]
        table = "accounts" if isinstance(number, int) else "journal"
        event = {"table": table, "action": "READ", "data": data, "dataOld": {}, "snapshot": mark}
        self.add(event, "r", at_last_lsn=bool(self.messages) and self.messages[-1].is_read)

    def done(self, table: str = "accounts", state: str = "done") -> None:
        self.add({"snapshot": {"run": "r", "state": state, "schema": "public", "table": table}})


def right() -> Script:
    """A snapshot of five rows in two chunks, of which one goes, one changes, one moves back and one comes."""
    script = Script()
    script.change("UPDATE", {"id": 2, "n": 1}, unchanged=["doc"])
    script.read(1)
    script.read(2, 1)
    script.change("DELETE", {}, {"id": 1})
    script.change("UPDATE", {"id": 0, "n": 0}, {"id": 4}, unchanged=["doc"])
    script.change("INSERT", {"id": 7, "n": 3, "doc": None})
    script.read(3)
    script.read(5)
    script.read(0, cursor=2)
    script.read(7, 3, None)
    script.done()
    script.change("DELETE", {}, {"note": "b"})
    script.read("a")
    script.read("a")
    script.done("journal")
    return script


def end() -> dict[str, Base]:
    """The tables after what `right` tells."""
    rows: list[Row] = [{"id": "2", "n": "1", "doc": "long"}, {"id": "3", "n": "0", "doc": "long"}]
    rows += [{"id": "5", "n": "0", "doc": "long"}, {"id": "0", "n": "0", "doc": "long"}]
    rows += [{"id": "7", "n": "3", "doc": None}]
    journal: list[Row] = [{"note": "a"}, {"note": "a"}]
    return {"accounts": BASE["accounts"]._replace(rows=rows), "journal": BASE["journal"]._replace(rows=journal)}


def faults(script: Script) -> list[str]:
    oracle = Oracle(BASE)
    oracle.take_all(script.messages)
    return oracle.faults


def test_nothing_in_a_stream_that_is_right() -> None:
    oracle = Oracle(BASE)
    oracle.take_all(right().messages)
    assert oracle.faults == []
    assert oracle.done == [("r", "accounts"), ("r", "journal")]
    oracle.matches(end())
    assert oracle.faults == []


@pytest.mark.parametrize("number", [0, 3, 5, 11])
def test_a_change_that_is_missing(number: int) -> None:
    script = right()
    del script.messages[number]
    oracle = Oracle(BASE)
    oracle.take_all(script.messages)
    oracle.matches(end())
    assert oracle.faults


def _changed(number: int, **data: Any) -> Callable[[list[Message]], None]:
    def change(messages: list[Message]) -> None:
        event = messages[number].event
        messages[number] = messages[number]._replace(event={**event, "data": {**event["data"], **data}})

    return change


def _gone(number: int) -> Callable[[list[Message]], None]:
    def change(messages: list[Message]) -> None:
        del messages[number]

    return change


def _again(number: int) -> Callable[[list[Message]], None]:
    def change(messages: list[Message]) -> None:
        later = messages[number]._replace(position=Position(messages[number].position.commit_lsn, 2))
        messages.insert(number + 1, later)

    return change


def _at(number: int, ordinal: int) -> Callable[[list[Message]], None]:
    def change(messages: list[Message]) -> None:
        position = messages[number - 1].position
        messages[number] = messages[number]._replace(position=Position(position.commit_lsn, ordinal))

    return change


def _swapped(first: int, second: int) -> Callable[[list[Message]], None]:
    def change(messages: list[Message]) -> None:
        one, other = messages[first], messages[second]
        messages[first] = other._replace(position=one.position)
        messages[second] = one._replace(position=other.position)

    return change


def _with(number: int, **fields: Any) -> Callable[[list[Message]], None]:
    def change(messages: list[Message]) -> None:
        messages[number] = messages[number]._replace(event={**messages[number].event, **fields})

    return change


@pytest.mark.parametrize(
    ("break_it", "word"),
    [
        pytest.param(_changed(2, n=0), "is not the row", id="stale"),
        pytest.param(_changed(2, doc=None), "is not the row", id="a large value that is lost"),
        pytest.param(_changed(2, n="1"), "of type integer as str", id="another type"),
        pytest.param(_gone(6), "lacks 1 rows", id="a row that is missing"),
        pytest.param(_gone(8), "that differ", id="a moved row that is not completed"),
        pytest.param(_again(1), "number 2 in run", id="read twice"),
        pytest.param(_again(12), "rows alone", id="read twice, without a key"),
        pytest.param(_gone(12), "rows alone", id="missing, without a key"),
        pytest.param(_at(4, 1), "not after", id="a position twice"),
        pytest.param(_at(4, 0), "not after", id="a position before"),
        pytest.param(_swapped(1, 3), "which is not there", id="read after it was deleted"),
        pytest.param(_swapped(0, 2), "is not the row", id="read before the change that it has"),
        pytest.param(_with(6, snapshot={"run": "r", "cursor": ["9"]}), "no row was moved there", id="cursor"),
        pytest.param(_with(6, dataOld={"id": 3}), "with the fields", id="an old row"),
        pytest.param(_with(10, snapshot={"run": "r", "state": "failed", "table": "accounts"}), "failed", id="failed"),
    ],
)
def test_it_bites(break_it: Callable[[list[Message]], None], word: str) -> None:
    script = right()
    break_it(script.messages)
    assert any(word in fault for fault in faults(script)), faults(script)


def test_what_alter_table_does_is_taken_from_the_ledger() -> None:
    script = Script()

    def alter(kind: str, column: str, argument: str = "") -> None:
        row = {"id": 1, "name": "accounts", "kind": kind, "col": column, "argument": argument}
        script.add({"table": "ddl", "action": "INSERT", "data": row, "dataOld": {}})

    def read(number: int, **data: Any) -> None:
        script.read(number)
        message = script.messages[-1]
        event = {**message.event, "data": {"id": number, **data}, "snapshot": message.event["snapshot"]}
        script.messages[-1] = message._replace(event={**event, "snapshot": event.pop("snapshot")})

    read(1, n=0, doc="long")
    alter("add", "x1", "integer DEFAULT 7")
    read(2, n=0, doc="long", x1=7)
    alter("drop", "doc")
    read(3, n=0, x1=7)
    alter("retype", "n", "text")
    read(4, n="0", x1=7)
    assert faults(script) == []
    script.change("UPDATE", {"id": 5, "n": "0"})
    read(5, n=0, x1=7)
    assert ["UPDATE with columns" in faults(script)[0], "of type text as int" in faults(script)[1]] == [True, True]


def test_a_consumer_that_sweeps_has_no_rows_of_before() -> None:
    script = right()
    for sweeps in (False, True):
        oracle = Oracle(BASE, sweeps=sweeps)
        oracle.consumers_had("accounts", [{"id": "99", "n": "0", "doc": None}])
        oracle.take_all(script.messages)
        assert bool(oracle.faults) is not sweeps
