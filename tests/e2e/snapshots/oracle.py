"""Judges a stream that holds snapshots, message by message, from its beginning.

The *truth* is a base copy of the tables, made before anything was written, plus the change events replayed: the state
of each table at the position of each message. Two consumers that know nothing but events are kept beside it: one that
starts empty where the stream begins, and one that starts empty where a run begins with the table. Every READ has to
equal the truth at its position, and at `done` both consumers have to hold exactly the truth.

The rows of a table without a key are read at one position's LSN, again from the first where a restart came between.

What no event tells, ALTER TABLE does to rows that are there already: whoever alters a table inserts into `ddl`, in the
same transaction, what was done.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ditto.lsn import ORIGIN, Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Row = dict[str, "str | None"]
"""Column to text, in the table's order."""
Key = tuple["str | None", ...]

MOST_FAULTS: Final = 20
_NUMBERS: Final = frozenset({"smallint", "integer", "bigint"})
DDL: Final = "ddl"


class Message(NamedTuple):
    """One message of a stream, or one line of a file."""

    number: int
    position: Position
    event: Mapping[str, Any]
    header: str | None = None
    """Ditto-Snapshot; a file has none."""

    @property
    def is_change(self) -> bool:
        return "action" in self.event

    @property
    def is_read(self) -> bool:
        return self.event.get("action") == "READ"

    @property
    def is_control(self) -> bool:
        return "snapshot" in self.event and not self.is_change

    @property
    def is_description(self) -> bool:
        """It has the position of the message before it."""
        return not self.is_change and not self.is_control and "lsn" not in self.event


class Base(NamedTuple):
    """A table before the stream began."""

    columns: Mapping[str, str]
    """Name to type, in the table's order."""
    key: Sequence[str]
    """Empty: rows are not told apart."""
    rows: Sequence[Row] = ()


def text_of(value: Any) -> str | None:
    """What PostgreSQL writes for a value of the types that the writers use."""
    match value:
        case None | str():
            return value
        case bool():
            return "t" if value else "f"
        case int():
            return str(value)
    return json.dumps(value, sort_keys=True)


def row_of(data: Mapping[str, Any]) -> Row:
    return {name: text_of(value) for name, value in data.items()}


@dataclass
class _Copy:
    """A table as a consumer has it: a row that lacks a column is incomplete."""

    rows: dict[Key, Row] = field(default_factory=dict)
    seen: set[Key] = field(default_factory=set)

    def upsert(self, old_key: Key, key: Key, row: Row, unchanged: Sequence[str]) -> None:
        before = self.rows.pop(old_key, {})
        self.rows[key] = row | {name: before[name] for name in unchanged if name in before}


@dataclass
class _Table:
    """One table, and the snapshot that runs."""

    columns: dict[str, str]
    key: tuple[str, ...]
    rows: dict[Key, Row] = field(default_factory=dict)
    bag: Counter[tuple[tuple[str, str | None], ...]] = field(default_factory=Counter)
    """The rows of a table without a key."""
    consumer: _Copy = field(default_factory=_Copy)
    run_consumer: _Copy = field(default_factory=_Copy)
    run: str | None = None
    """The one that reads it now."""
    read: Counter[Key] = field(default_factory=Counter)
    """How often each key was read in this run."""
    moves: Counter[Key] = field(default_factory=Counter)
    """How often a row came to this key since the last `done`."""
    read_bag: Counter[tuple[tuple[str, str | None], ...]] = field(default_factory=Counter)
    cut_lsn: int = 0
    """At which `read_bag` was read."""

    def key_of(self, row: Row) -> Key:
        return tuple(row.get(name) for name in self.key)

    def forget(self) -> None:
        """A consumer that knows nothing begins here."""
        self.run_consumer = _Copy()
        self.consumer.seen.clear()

    def begin(self, run: str) -> None:
        """This run reads it from now on."""
        self.run = run
        self.read.clear()
        self.read_bag.clear()
        self.cut_lsn = 0

    @property
    def copies(self) -> tuple[_Copy, _Copy]:
        return self.consumer, self.run_consumer


class Oracle:
    """Takes the messages in order; `faults` is empty as long as all is right."""

    def __init__(self, base: Mapping[str, Base], *, sweeps: bool = False) -> None:
        """`sweeps`: the consumers drop, at `done`, what they have not seen since the run began with the table."""
        self._sweeps = sweeps
        self._tables = {
            name: _Table(dict(each.columns), tuple(each.key), *_rows_of(each)) for name, each in base.items()
        }
        self._last = ORIGIN
        self._where = ""
        self.faults: list[str] = []
        self.done: list[tuple[str, str]] = []
        """Run and table, for each `done`."""
        self.reads: Counter[str] = Counter()
        """Of each table."""
        self.repeated_reads = 0
        self.changed_rows = 0

    def consumers_had(self, name: str, rows: Iterable[Row]) -> None:
        """The consumer from the beginning has these rows of an earlier stream, right or wrong."""
        table = self._tables[name]
        table.consumer.rows = {table.key_of(row): dict(row) for row in rows}

    def take_all(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if len(self.faults) >= MOST_FAULTS:
                return
            self.take(message)

    def take(self, message: Message) -> None:
        self._where = f"message {message.number} at {message.position}"
        if not message.is_description and message.position <= self._last:
            self._fault(f"not after {self._last}")
        self._last = max(message.position, self._last)
        event = message.event
        if message.is_control:
            self._control(event["snapshot"])
        elif event.get("action") == "INSERT" and event["table"] == DDL:
            self._alter(event["data"])
        elif message.is_change and (table := self._tables.get(event["table"])):
            self._where += f", {event['table']}"
            if message.is_read:
                self._read(table, event, message)
            else:
                self._change(table, event)

    def matches(self, tables: Mapping[str, Base]) -> None:
        """Compare the truth with the tables themselves, after the last message."""
        for name, found in tables.items():
            table = self._tables[name]
            self._where = f"at the end, {name}"
            if dict(found.columns) != table.columns:
                self._fault(f"columns {dict(found.columns)}, and {table.columns} by the stream")
            rows, bag = _rows_of(found)
            self._compare("the table", rows, table.rows)
            if bag != table.bag:
                self._fault(f"{_difference(bag, table.bag)} in the table and the replay")

    # ------------------------------------------------------------------------------------ changes

    def _change(self, table: _Table, event: Mapping[str, Any]) -> None:
        self.changed_rows += 1
        action, data, old = event["action"], row_of(event["data"]), row_of(event["dataOld"])
        unchanged = event.get("unchanged", ())
        if action == "TRUNCATE":
            table.rows.clear()
            table.bag.clear()
            for copy in table.copies:
                copy.rows.clear()
            return
        if action != "DELETE":
            self._check_columns(table, [*data, *unchanged], event)
        if not table.key:
            self._change_of_bag(table, action, data, old, unchanged)
        elif action == "DELETE":
            key = table.key_of(old)
            if table.rows.pop(key, None) is None:
                self._fault(f"DELETE of {key}, which is not there")
            for copy in table.copies:
                copy.rows.pop(key, None)
        else:
            self._upsert(table, action, data, old, unchanged)

    def _upsert(self, table: _Table, action: str, data: Row, old: Row, unchanged: Sequence[str]) -> None:
        key = table.key_of(data)
        old_key = table.key_of(old) if old else key
        before = table.rows.pop(old_key, None)
        if action == "INSERT" and before is not None:
            self._fault(f"INSERT of {key}, which is there")
        if action == "UPDATE" and before is None:
            self._fault(f"UPDATE of {old_key}, which is not there")
        if key != old_key:
            table.moves[key] += 1
            if key in table.rows:
                self._fault(f"UPDATE to {key}, which is there")
        table.rows[key] = data | {name: (before or {}).get(name) for name in unchanged}
        for copy in table.copies:
            # With identity FULL the old row has what did not change.
            known = {name: old[name] for name in unchanged if name in old}
            copy.upsert(old_key, key, data | known, unchanged)
            copy.seen.add(key)

    def _change_of_bag(self, table: _Table, action: str, data: Row, old: Row, unchanged: Sequence[str]) -> None:
        if action != "INSERT":
            gone = _bagged(old)
            if not table.bag[gone]:
                self._fault(f"{action} of a row that is not there")
            table.bag[gone] -= 1
            if table.bag[gone] <= 0:
                del table.bag[gone]
        if action != "DELETE":
            table.bag[_bagged(data | {name: old[name] for name in unchanged})] += 1

    def _check_columns(self, table: _Table, names: Sequence[str], event: Mapping[str, Any]) -> None:
        if sorted(names) != sorted(table.columns):
            self._fault(f"{event['action']} with columns {names}, where the table has {list(table.columns)}")

    def _alter(self, row: Mapping[str, Any]) -> None:
        table = self._tables[row["name"]]
        column, argument = row["col"], row["argument"]
        every = [*table.rows.values(), *(row for copy in table.copies for row in copy.rows.values())]
        match row["kind"]:
            case "add":
                kind, _, default = argument.partition(" DEFAULT ")
                table.columns[column] = kind
                for each in every:
                    each[column] = default or None
            case "drop":
                del table.columns[column]
                for each in every:
                    each.pop(column, None)
            case "retype":  # between texts and numbers whose text is the same
                table.columns[column] = argument
            case kind:
                self._fault(f"the writers' own mistake: {kind}")

    # ------------------------------------------------------------------------------------ snapshots

    def _read(self, table: _Table, event: Mapping[str, Any], message: Message) -> None:
        self.reads[event["table"]] += 1
        data, mark = row_of(event["data"]), event["snapshot"]
        if list(event)[-1] != "snapshot" or event["dataOld"] != {} or "unchanged" in event:
            self._fault(f"a READ with the fields {list(event)}")
        if message.header not in {None, mark["run"]}:
            self._fault(f"header {message.header} where the event has run {mark['run']}")
        self._check_columns(table, list(data), event)
        if list(data) != list(table.columns):
            self._fault(f"READ with the columns in the order {list(data)}, not {list(table.columns)}")
        for name, value in event["data"].items():
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and is_number != (table.columns.get(name) in _NUMBERS):
                self._fault(f"READ: column {name} of type {table.columns.get(name)} as {type(value).__name__}")
        if mark["run"] != table.run:
            table.begin(mark["run"])
        if not table.key:
            if table.cut_lsn != message.position.commit_lsn:
                table.cut_lsn = message.position.commit_lsn
                table.read_bag.clear()
            table.read_bag[_bagged(data)] += 1
            return
        key = table.key_of(data)
        table.read[key] += 1
        is_moved = mark.get("cursor") != list(key)
        if is_moved and not table.moves[key]:
            self._fault(f"READ of {key} with the cursor {mark.get('cursor')}, and no row was moved there")
        if table.read[key] > 1:
            self.repeated_reads += 1
            if not table.moves[key]:
                self._fault(f"READ of {key}, number {table.read[key]} in run {table.run}")
        if key not in table.rows:
            self._fault(f"READ of {key}, which is not there")
        elif data != table.rows[key]:
            self._fault(f"READ of {key} is not the row: {_columns_that_differ(data, table.rows[key])}")
        for copy in table.copies:
            copy.rows[key] = data
            copy.seen.add(key)

    def _control(self, control: Mapping[str, Any]) -> None:
        name, run = control.get("table"), control["run"]
        for each in self._tables.values():
            if each.run is None:  # whose `begun` may be replaced before it is read: it comes after this message
                each.forget()
        table = self._tables.get(name or "")
        if name is None or table is None:
            return
        if control["state"] == "begun":
            table.forget()
            table.begin(run)
        if control["state"] == "failed":
            self._where += f", {name}"
            self._fault(f"failed: {control.get('reason')}")
        if control["state"] != "done":
            return
        self._where += f", done of {name}"
        self.done.append((run, name))
        if run != table.run:  # no row was read
            table.begin(run)
        table.run = None
        if not table.key:
            if table.read_bag != table.bag:
                self._fault(f"{_difference(table.bag, table.read_bag)} in the truth and among the READs")
            return
        if self._sweeps:
            for copy in table.copies:
                copy.rows = {key: row for key, row in copy.rows.items() if key in copy.seen}
        self._compare("a consumer from the stream's beginning", table.consumer.rows, table.rows)
        self._compare("a consumer from the run's beginning", table.run_consumer.rows, table.rows)
        table.moves.clear()

    def _compare(self, who: str, rows: Mapping[Key, Row], truth: Mapping[Key, Row]) -> None:
        if rows == truth:
            return
        missing, surplus = sorted(truth.keys() - rows.keys(), key=str), sorted(rows.keys() - truth.keys(), key=str)
        if missing:
            self._fault(f"{who} lacks {len(missing)} rows, {missing[:3]}")
        if surplus:
            self._fault(f"{who} has {len(surplus)} rows too many, {surplus[:3]}")
        different = [key for key in truth.keys() & rows.keys() if rows[key] != truth[key]]
        for key in different[:3]:
            self._fault(
                f"{who} has {len(different)} rows that differ, {key}: {_columns_that_differ(rows[key], truth[key])}"
            )

    def _fault(self, text: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"{self._where}: {text}")


def _rows_of(base: Base) -> tuple[dict[Key, Row], Counter[tuple[tuple[str, str | None], ...]]]:
    if not base.key:
        return {}, Counter(_bagged(row) for row in base.rows)
    return {tuple(row[name] for name in base.key): dict(row) for row in base.rows}, Counter()


def _bagged(row: Row) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(row.items()))


def _difference(first: Counter[Any], second: Counter[Any]) -> str:
    return f"{(first - second).total()} and {(second - first).total()} rows alone"


def _columns_that_differ(row: Row, truth: Row) -> str:
    def short(value: object) -> str:
        return f"{str(value)[:20]}({len(str(value))})"

    return ", ".join(
        f"{name} {short(row.get(name, 'absent'))} not {short(truth.get(name, 'absent'))}"
        for name in sorted(row.keys() | truth.keys())
        if row.get(name, "absent") != truth.get(name, "absent")
    )
