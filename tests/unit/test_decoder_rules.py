"""Rules of tables in the decoder: changes that are dropped or routed by their row, columns left out or made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, structs

from ditto.config.events import TableRules
from ditto.decoding import messages
from ditto.decoding.choose import IMPL
from ditto.decoding.column_kinds import CALL, JSON, KINDS, SKIP
from ditto.decoding.messages import (
    MARKER_PREFIX,
    Begun,
    ChangeRefused,
    ChangeTooLarge,
    Delivered,
    Extras,
    Relation,
    RuleFailed,
)
from ditto.errors import DecodeError
from ditto.lsn import Position
from ditto.routing.rules import RuleMaker
from ditto.routing.table_columns import choose_columns
from ditto.routing.table_names import TableNames
from ditto.routing.table_plans import Routed, Routes, Rule, TablePlan, Texts
from unit import wire
from unit.implementations import IMPLEMENTATIONS, Decoder, comparable, description_of, encode, plan_of, positions
from unit.test_snapshot_rows import copy_line
from unit.wire import UNCHANGED, Column

if TYPE_CHECKING:
    from ditto.decoding.messages import Block
    from unit.implementations import Implementation

LSN = 0x16_B374_D848
TIME = "2000-01-01T00:00:00.000000Z"
COLUMNS = [Column("id", wire.INT4, True), Column("name"), Column("doc", wire.JSONB)]
TABLE = wire.relation(1, "orders", COLUMNS)
FULL = wire.relation(1, "orders", [column._replace(is_key=True) for column in COLUMNS], identity="f")
ROUTES = (b"orders.insert", b"orders.update", b"orders.delete", b"orders.truncate", b"orders.read")
ID, NAME, DOC = range(3)


class Seen(NamedTuple):
    """What a rule was asked."""

    action: str
    new: Texts | None
    old: Texts | None


class Asked:
    """A rule that keeps what it is asked, and lets everything pass."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def __call__(self, action: str, new: Texts | None, old: Texts | None) -> Routed | None:
        self.seen.append(Seen(action, new, old))
        return Routed(b"by rule")


def passes(action: str, new: Texts | None, old: Texts | None) -> Routed | None:
    return Routed(b"by rule")


def drops(action: str, new: Texts | None, old: Texts | None) -> Routed | None:
    return None


def drops_x(action: str, new: Texts | None, old: Texts | None) -> Routed | None:
    """Of the column `name`."""
    return None if "x" in (new or old or []) else Routed(b"by rule")


def fails_on_x(action: str, new: Texts | None, old: Texts | None) -> Routed | None:
    if "x" in (new or old or []):
        raise RuleFailed("events.tables.orders.when", "there is no such key")
    return Routed(b"by rule")


def routes_by_name(action: str, new: Texts | None, old: Texts | None) -> Routed | None:
    """Headers for one name, a key for another one."""
    name = (new or old or [None])[0]
    headers = b"name: %b\r\n" % name.encode() if isinstance(name, str) and name.startswith("h") else b""
    return Routed(f"orders.{name}".encode(), headers, b"key" if name == "k" else None)


def upper(text: str | None) -> str:
    return "none" if text is None else text.upper()


def planned(
    apply: Callable[[str, Texts | None, Texts | None], Routed | None] | None = None,
    *,
    reads: tuple[int, ...] = (NAME,),
    skips_unchanged: bool = False,
    skip: tuple[int, ...] = (),
    call: tuple[int, ...] = (),
    **options: Any,
) -> Callable[[Relation], TablePlan]:
    """A plan with this rule, these columns left out, and these in capitals."""

    def plan(relation: Relation) -> TablePlan:
        kinds = bytearray(KINDS.find(each.type_oid, "", "") for each in relation.columns)
        for column in skip:
            kinds[column] = SKIP
        for column in call:
            kinds[column] = CALL
        functions = tuple(upper if column in call else None for column in range(len(kinds))) if call else ()
        rule = None if apply is None else Rule(columns=reads, apply=apply, skips_unchanged=skips_unchanged)
        return TablePlan(
            relation=relation, routes=Routes(*ROUTES), kinds=bytes(kinds), functions=functions, rule=rule, **options
        )

    return plan


def feed(decoder: Decoder, *frames: bytes) -> Block:
    for frame in frames:
        decoder.feed(frame)
    return decoder.take()


def transaction(*frames: bytes, lsn: int = LSN) -> list[bytes]:
    return [wire.begin(lsn), *frames, wire.commit(lsn)]


def events(block: Block) -> list[Any]:
    return [json.loads(payload) for payload in encode(block.changes)]


# ------------------------------------------------------------------------------------- what a rule gets


def test_a_rule_gets_the_texts_of_its_columns(impl: Implementation) -> None:
    asked = Asked()
    decoder = impl.decoder(planned(asked, reads=(DOC, ID)))
    row: wire.Row = ["1", "a", '{"b": null}']
    feed(
        decoder,
        TABLE,
        *transaction(
            wire.insert(1, row),
            wire.update(1, ["1", None, UNCHANGED]),
            wire.update(1, ["2", None, None], key=["1", None, None]),
            wire.delete(1, key=["2", None, None]),
            wire.truncate(1),
        ),
    )
    assert asked.seen == [
        ("INSERT", ['{"b": null}', "1"], None),
        ("UPDATE", [UNSET, "1"], None),
        ("UPDATE", [None, "2"], [UNSET, "1"]),
        ("DELETE", None, [UNSET, "2"]),
        ("TRUNCATE", None, None),
    ]


def test_with_the_whole_old_row_nothing_is_unset(impl: Implementation) -> None:
    asked = Asked()
    old: wire.Row = ["1", None, "{}"]
    frames = transaction(wire.update(1, ["1", "a", UNCHANGED], old=old), wire.delete(1, old=old))
    feed(impl.decoder(planned(asked, reads=(ID, NAME, DOC))), FULL, *frames)
    assert asked.seen == [("UPDATE", ["1", "a", "{}"], ["1", None, "{}"]), ("DELETE", None, ["1", None, "{}"])]


def test_an_unchanged_column_of_a_key_that_was_sent(impl: Implementation) -> None:
    asked = Asked()
    feed(impl.decoder(planned(asked, reads=(ID,))), TABLE, *transaction(wire.update(1, [UNCHANGED] * 3, key=["7"] * 3)))
    assert asked.seen == [("UPDATE", ["7"], ["7"])]


def test_a_rule_reads_columns_that_are_left_out_or_masked(impl: Implementation) -> None:
    asked = Asked()
    decoder = impl.decoder(planned(asked, reads=(NAME, DOC), skip=(DOC,), call=(NAME,)))
    block = feed(decoder, TABLE, *transaction(wire.insert(1, ["1", "a", "{}"])))
    assert asked.seen == [("INSERT", ["a", "{}"], None)]
    assert events(block)[0]["data"] == {"id": 1, "name": "A"}


def test_the_text_of_a_char_may_be_any_byte(impl: Implementation) -> None:
    asked = Asked()
    decoder = impl.decoder(planned(asked, reads=(0,), call=(0,)))
    block = feed(decoder, wire.relation(1, "t", [Column("c", 18)]), *transaction(wire.insert(1, [b"\xc8"])))
    assert asked.seen[0].new == [r"\310"]
    assert events(block)[0]["data"] == {"c": r"\310"}


def test_text_that_is_not_utf8_is_an_error_that_names_the_column(impl: Implementation) -> None:
    for plan in (planned(passes), planned(call=(NAME,)), planned(passes, skip=(NAME,))):
        with pytest.raises(DecodeError, match="not UTF-8 in the column name"):
            feed(impl.decoder(plan), TABLE, wire.begin(LSN), wire.insert(1, ["1", b"hunter\xff2", None]))
    by_id = TableRules(when="data.id == 2 && data.name != 'a'")  # one column decides, and the other one is read
    for new in (wire.insert(1, ["1", b"\xff", None]), wire.update(1, ["1", "b", None], old=["1", b"\xff", None])):
        with pytest.raises(DecodeError, match="not UTF-8 in the column name"):
            feed(impl.decoder(lambda relation: configured(by_id, planned()(relation))), FULL, wire.begin(LSN), new)
    left_out = planned(skip=(NAME,))
    feed(impl.decoder(left_out), TABLE, *transaction(wire.insert(1, ["1", b"\xff", None])))
    with pytest.raises(DecodeError, match="not UTF-8 in the column doc"):
        feed(impl.decoder(left_out), TABLE, wire.begin(LSN), wire.insert(1, ["1", b"\xff", b"\xff"]))


def test_what_a_rule_says_is_the_route(impl: Implementation) -> None:
    block = feed(impl.decoder(planned(passes)), TABLE, *transaction(wire.insert(1, ["1", "a", None]), wire.truncate(1)))
    assert block.routes == [b"by rule", b"by rule"]
    assert (block.headers, block.keys) == (None, None)


# ------------------------------------------------------------------------------------- changes that are dropped


def named(*names: str) -> list[bytes]:
    return [wire.insert(1, [str(number), name, None]) for number, name in enumerate(names, 1)]


def test_a_change_that_is_dropped_leaves_its_position_free(impl: Implementation) -> None:
    decoder = impl.decoder(planned(drops_x))
    block = feed(decoder, TABLE, *transaction(*named("a", "x", "b", "x")))
    assert positions(block) == [Position(LSN, 1), Position(LSN, 3)]
    assert block.delivered == Delivered(LSN, LSN + 8, 2)
    assert decoder.filtered_count == 2
    assert decoder.passed_counts() == {("public", "orders"): (2, 0, 0, 0, 0)}
    assert decoder.dropped_counts() == {("public", "orders"): 2}


def test_a_transaction_of_which_nothing_is_left_is_none_that_is_delivered(impl: Implementation) -> None:
    decoder = impl.decoder(planned(drops))
    block = feed(decoder, TABLE, *transaction(*named("a"), wire.truncate(1)))
    assert (block.changes, block.delivered, block.idle_lsn) == ([], None, LSN + 8)
    assert decoder.dropped_counts() == {("public", "orders"): 2}


def test_the_last_event_is_marked_also_where_changes_behind_it_are_dropped(impl: Implementation) -> None:
    decoder = impl.decoder(planned(drops_x), extras=Extras(marks_last=True))
    block = feed(decoder, TABLE, *transaction(*named("a", "b", "x")), *transaction(*named("x"), lsn=LSN + 8))
    assert [event.get("meta") for event in events(block)] == [None, {"last": True}]
    assert positions(block) == [Position(LSN, 1), Position(LSN, 2)]


def test_a_table_is_described_before_the_first_change_that_passes(impl: Implementation) -> None:
    decoder = impl.decoder(
        lambda relation: planned(drops_x, description=description_of(relation))(relation),
    )
    assert feed(decoder, TABLE, *transaction(*named("x"))).changes == []
    block = feed(decoder, *transaction(*named("x", "a"), lsn=LSN + 8))
    assert block.routes == [b"described orders", b"by rule"]
    assert positions(block) == [Position(LSN + 8, 1), Position(LSN + 8, 2)]


def test_what_is_stored_already_does_not_come_to_the_rule(impl: Implementation) -> None:
    asked = Asked()
    decoder = impl.decoder(planned(asked), after=Position(LSN, 1))
    block = feed(decoder, TABLE, *transaction(*named("a", "b")))
    assert [each.new for each in asked.seen] == [["b"]]
    assert positions(block) == [Position(LSN, 2)]
    assert (decoder.skipped_count, decoder.filtered_count) == (1, 0)


def test_a_change_that_is_dropped_is_not_too_large(impl: Implementation) -> None:
    decoder = impl.decoder(planned(drops_x, reads=(NAME,), skip=(DOC,)), max_size=100)
    large = json.dumps("y" * 200)
    assert feed(decoder, TABLE, *transaction(wire.insert(1, ["1", "x", large]))).changes == []
    left_out = feed(decoder, *transaction(wire.insert(1, ["1", "a", large]), lsn=LSN + 8))
    assert len(left_out.changes) == 1, "nor is one whose large column is left out"
    with pytest.raises(ChangeTooLarge) as raised:
        feed(decoder, *transaction(wire.insert(1, ["1", "z" * 200, None]), lsn=LSN + 16))
    assert raised.value.column == "name"


def test_changes_are_recorded_whatever_a_rule_says(impl: Implementation) -> None:
    decoder = impl.decoder(planned(drops))
    feed(decoder, TABLE)
    decoder.record(1, (ID,))
    feed(decoder, *transaction(*named("a", "b")))
    assert len(decoder.recorded) == 2


# ------------------------------------------------------------------------------------- unchanged rows


OLD: wire.Row = ["1", None, "{}"]


@pytest.mark.parametrize(
    ("frame", "is_kept"),
    [
        (wire.update(1, OLD, old=OLD), False),
        (wire.update(1, ["1", None, UNCHANGED], old=OLD), False),
        (wire.update(1, ["1", "", "{}"], old=OLD), True),
        (wire.update(1, ["1", None, "{} "], old=OLD), True),
        (wire.update(1, OLD), True),
        (wire.update(1, OLD, key=["1", None, None]), True),
        (wire.insert(1, OLD), True),
        (wire.delete(1, old=OLD), True),
        (wire.truncate(1), True),
    ],
)
def test_an_update_that_changes_nothing_is_dropped(impl: Implementation, frame: bytes, is_kept: bool) -> None:
    decoder = impl.decoder(planned(passes, skips_unchanged=True))
    assert len(feed(decoder, FULL, *transaction(frame)).changes) == is_kept
    assert decoder.filtered_count == (not is_kept)
    assert len(feed(impl.decoder(planned(passes)), FULL, *transaction(frame)).changes) == 1


def test_columns_that_are_left_out_do_not_count_as_changed(impl: Implementation) -> None:
    frames = transaction(wire.update(1, ["1", "b", "{}"], old=["1", "a", "{}"]))
    assert feed(impl.decoder(planned(passes, skips_unchanged=True, skip=(NAME,))), FULL, *frames).changes == []
    assert len(feed(impl.decoder(planned(passes, skips_unchanged=True, call=(NAME,))), FULL, *frames).changes) == 1


# ------------------------------------------------------------------------------------- columns


def test_a_column_that_is_left_out_is_nowhere(impl: Implementation) -> None:
    old: wire.Row = ["1", "secret", "null"]
    frames = [
        wire.insert(1, old),
        wire.update(1, ["1", UNCHANGED, UNCHANGED]),
        wire.update(1, ["1", UNCHANGED, UNCHANGED], key=["1", None, None]),
        wire.delete(1, key=["1", None, None]),
    ]
    found = events(feed(impl.decoder(planned(skip=(NAME,))), TABLE, *transaction(*frames)))
    assert [(event["data"], event["dataOld"], event.get("unchanged"), event.get("jsonNull")) for event in found] == [
        ({"id": 1, "doc": None}, {}, None, ["doc"]),
        ({"id": 1}, {}, ["doc"], None),
        ({"id": 1}, {"id": 1}, ["doc"], None),
        ({}, {"id": 1}, None, None),
    ]
    frames = [wire.update(1, ["1", "new", UNCHANGED], old=old), wire.delete(1, old=old)]
    found = events(feed(impl.decoder(planned(skip=(NAME, DOC))), FULL, *transaction(*frames)))
    assert [(event["data"], event["dataOld"], event.get("jsonNull")) for event in found] == [
        ({"id": 1}, {"id": 1}, None),
        ({}, {"id": 1}, None),
    ]


def test_a_function_makes_the_values_of_a_column_null_too(impl: Implementation) -> None:
    old: wire.Row = ["1", "a", "null"]
    frames = [
        wire.insert(1, ["1", None, "null"]),
        wire.update(1, ["1", "b", UNCHANGED], old=old),
        wire.update(1, ["1", UNCHANGED, UNCHANGED], old=old),
        wire.update(1, ["1", UNCHANGED, "{}"]),
        wire.delete(1, old=["1", None, None]),
    ]
    found = events(feed(impl.decoder(planned(call=(NAME, DOC))), FULL, *transaction(*frames)))
    assert [(event["data"], event["dataOld"], event.get("unchanged")) for event in found] == [
        ({"id": 1, "name": "none", "doc": "NULL"}, {}, None),
        ({"id": 1, "name": "B", "doc": "NULL"}, {"id": 1, "name": "A", "doc": "NULL"}, None),
        ({"id": 1, "name": "A", "doc": "NULL"}, {"id": 1, "name": "A", "doc": "NULL"}, None),
        ({"id": 1, "doc": "{}"}, {}, ["name"]),
        ({}, {"id": 1, "name": "none", "doc": "none"}, None),
    ]
    assert all("jsonNull" not in event and "jsonNullOld" not in event for event in found)


def test_a_plan_that_does_not_fit_its_relation_is_refused(impl: Implementation) -> None:
    def without_function(relation: Relation) -> TablePlan:
        return TablePlan(relation=relation, routes=Routes(*ROUTES), kinds=bytes([0, CALL, JSON]))

    def with_too_few(relation: Relation) -> TablePlan:
        return TablePlan(relation=relation, routes=Routes(*ROUTES), kinds=bytes([0, CALL, JSON]), functions=(upper,))

    for plan in (without_function, with_too_few, planned(passes, reads=(3,)), planned(passes, reads=(-1,))):
        with pytest.raises(ValueError, match=r"function|reads"):
            feed(impl.decoder(plan), TABLE)


# ------------------------------------------------------------------------------------- headers, keys, transactions


def test_headers_and_keys_are_there_from_the_first_change_that_has_any(impl: Implementation) -> None:
    decoder = impl.decoder(planned(routes_by_name))
    block = feed(decoder, TABLE, *transaction(*named("a", "h", "k", "h2")))
    assert block.routes == [b"orders.a", b"orders.h", b"orders.k", b"orders.h2"]
    assert block.headers == [b"", b"name: h\r\n", b"", b"name: h2\r\n"]
    assert block.keys == [None, None, b"key", None]
    block = feed(decoder, *transaction(*named("k"), lsn=LSN + 8))
    assert (block.headers, block.keys) == (None, [b"key"])
    block = feed(decoder, *transaction(*named("a"), lsn=LSN + 16))
    assert (block.headers, block.keys) == (None, None)


def test_a_change_that_is_held_back_keeps_its_headers(impl: Implementation) -> None:
    decoder = impl.decoder(
        lambda relation: planned(routes_by_name, description=description_of(relation))(relation),
        extras=Extras(marks_last=True),
    )
    assert feed(decoder, TABLE, wire.begin(LSN), *named("h")).headers is None
    block = feed(decoder, *named("a", "k"), wire.commit(LSN))
    assert block.routes == [b"orders.h", b"orders.a", b"orders.k"]
    assert block.headers == [b"name: h\r\n", b"", b""]
    assert block.keys == [None, None, b"key"]


def test_descriptions_have_neither_headers_nor_keys(impl: Implementation) -> None:
    decoder = impl.decoder(lambda relation: planned(routes_by_name, description=description_of(relation))(relation))
    block = feed(decoder, TABLE, *transaction(*named("h", "k")))
    assert block.headers == [b"", b"name: h\r\n", b""]
    assert block.keys == [None, None, b"key"]


def test_the_transactions_of_a_block(impl: Implementation) -> None:
    decoder = impl.decoder(planned(drops_x), extras=Extras(has_transactions=True, marks_last=True))
    frames = [
        wire.begin(LSN, time_us=5),
        wire.origin("upstream"),
        *named("a", "b"),
        wire.commit(LSN),
        *transaction(*named("x"), lsn=LSN + 8),
        *transaction(*named("a"), lsn=LSN + 16),
    ]
    assert feed(decoder, TABLE, *frames).transactions == {
        LSN: Begun(700, 946_684_800_000_005, "upstream"),
        LSN + 16: Begun(700, 946_684_800_000_000, None),
    }
    assert feed(decoder, *transaction(*named("x"), lsn=LSN + 24)).transactions == {}
    assert feed(impl.decoder(planned(passes)), TABLE, *transaction(*named("a"))).transactions == {}


# ------------------------------------------------------------------------------------- rules that fail


class Connection:
    """What a decoder reads from: frames, and then nothing for the moment."""

    def __init__(self, *frames: bytes) -> None:
        self._frames = list(frames)

    def get_copy_data(self, asynchronous: int) -> tuple[int, bytes]:
        return (len(self._frames[0]), self._frames.pop(0)) if self._frames else (0, b"")

    def consume_input(self) -> None:
        pass


def test_a_rule_that_fails_says_for_which_change(impl: Implementation) -> None:
    decoder = impl.decoder(planned(fails_on_x))
    with pytest.raises(RuleFailed) as raised:
        feed(decoder, TABLE, *transaction(*named("a", "x")))
    error = raised.value
    assert (error.relation, error.action) == ("public.orders", "INSERT")
    assert (error.commit_lsn, error.ordinal) == (LSN, 2)
    assert (error.rule, error.reason) == ("events.tables.orders.when", "there is no such key")
    assert positions(decoder.take()) == [Position(LSN, 1)]
    assert decoder.passed_counts() == {("public", "orders"): (1, 0, 0, 0, 0)}


def test_what_comes_before_a_rule_that_fails_is_handed_over_first() -> None:
    """The compiled decoder reads from libpq itself; `tests/e2e` has it."""
    decoder = next(impl for impl in IMPLEMENTATIONS if impl.name == "python").decoder(planned(fails_on_x))
    feed(decoder, TABLE)
    connection: Any = Connection(*transaction(*named("a", "x")))
    block = decoder.read(connection, max_events=100, max_bytes=10_000)
    assert positions(block) == [Position(LSN, 1)]
    for _ in range(2):
        with pytest.raises(ChangeRefused):
            decoder.read(connection, max_events=100, max_bytes=10_000)


# ------------------------------------------------------------------------------------- rows of snapshots


def read(impl: Implementation, decoder: Decoder, plan: TablePlan, rows: list[wire.Row], **options: Any) -> Block:
    made = impl.make_rows(len(plan.relation.columns))
    for row in rows:
        made.add(copy_line(row))
    return decoder.read_block_of(
        plan,
        made,
        0,
        made.count,
        key=options.pop("key", (ID,)),
        run="run-1",
        commit_lsn=LSN,
        commit_time=TIME,
        xid=700,
        first_ordinal=5,
        moved_cursor=None,
        **options,
    )


def relation_of(columns: list[Column]) -> Relation:
    described = (messages.Column(each.name, each.type_oid, -1, each.is_key) for each in columns)
    return Relation(1, "public", "orders", "d", tuple(described))


ROWS: list[wire.Row] = [["1", "a", "null"], ["2", "x", None], ["3", "h", "{}"]]


def marked(impl: Implementation, **options: Any) -> Decoder:
    decoder = impl.decoder(**options)
    feed(decoder, wire.begin(LSN), wire.logical_message(prefix=MARKER_PREFIX))
    return decoder


def test_rows_of_snapshots_go_through_rules(impl: Implementation) -> None:
    asked = Asked()
    read(impl, impl.decoder(), planned(asked)(relation_of(COLUMNS)), ROWS[:1])
    assert asked.seen == [("READ", ["a"], None)]
    decoder = marked(impl, extras=Extras(has_transactions=True))
    block = read(impl, decoder, planned(drops_x)(relation_of(COLUMNS)), ROWS)
    assert positions(block) == [Position(LSN, 5), Position(LSN, 7)]
    assert block.routes == [b"by rule"] * 2
    assert block.transactions == {LSN: Begun(700, 946_684_800_000_000, None)}
    assert decoder.passed_counts() == {("public", "orders"): (0, 0, 0, 0, 2)}
    assert decoder.dropped_counts() == {("public", "orders"): 1}
    assert decoder.filtered_count == 1
    assert feed(decoder, wire.commit(LSN)).delivered == Delivered(LSN, LSN + 8, 0)


def test_rows_that_are_all_dropped_select_nothing(impl: Implementation) -> None:
    decoder = marked(impl, extras=Extras(has_transactions=True))
    plan = planned(drops, description=description_of(relation_of(COLUMNS)))(relation_of(COLUMNS))
    block = read(impl, decoder, plan, ROWS)
    assert (block.changes, block.routes, block.ordinals, block.transactions) == ([], [], [], {})
    assert feed(decoder, wire.commit(LSN)).delivered is None
    plan = planned(passes, description=plan.description)(plan.relation)
    assert len(read(impl, decoder, plan, ROWS).changes) == 4, "it is described with the first row that passes"


def test_rows_have_headers_and_keys(impl: Implementation) -> None:
    relation = relation_of(COLUMNS)
    plan = planned(routes_by_name, description=description_of(relation))(relation)
    block = read(impl, impl.decoder(), plan, ROWS)
    assert block.routes == [b"described orders", b"orders.a", b"orders.x", b"orders.h"]
    assert block.headers == [b"", b"", b"", b"name: h\r\n"]
    assert block.keys is None
    assert read(impl, impl.decoder(), plan, [["1", "k", None]]).keys == [None, b"key"]


def test_columns_of_rows_are_left_out_or_made(impl: Implementation) -> None:
    plan = planned(skip=(DOC,), call=(NAME,))(relation_of(COLUMNS))
    found = events(read(impl, impl.decoder(), plan, [*ROWS, ["4", None, None]]))
    assert [event["data"] for event in found] == [
        {"id": 1, "name": "A"},
        {"id": 2, "name": "X"},
        {"id": 3, "name": "H"},
        {"id": 4, "name": "none"},
    ]
    assert all("jsonNull" not in event for event in found)
    assert found[0]["snapshot"] == {"run": "run-1", "cursor": ["1"]}


@pytest.mark.parametrize("hidden", ["skip", "call"])
def test_the_cursor_of_a_row_says_nothing_that_the_event_hides(impl: Implementation, hidden: str) -> None:
    options: dict[str, Any] = {hidden: (NAME,)}
    plan = planned(**options)(relation_of(COLUMNS))
    found = events(read(impl, impl.decoder(), plan, ROWS, key=(ID, NAME)))
    assert [event["snapshot"] for event in found] == [{"run": "run-1"}] * 3


def test_a_rule_that_fails_on_a_row_leaves_the_decoder_as_it_was(impl: Implementation) -> None:
    relation = relation_of(COLUMNS)
    decoder = marked(impl)
    plan = planned(fails_on_x, description=description_of(relation))(relation)
    with pytest.raises(RuleFailed) as raised:
        read(impl, decoder, plan, ROWS)
    error = raised.value
    assert (error.relation, error.action, error.commit_lsn, error.ordinal) == ("public.orders", "READ", LSN, 6)
    assert decoder.passed_counts().get(("public", "orders"), (0,) * 5) == (0,) * 5
    assert feed(decoder, wire.commit(LSN)).delivered is None
    assert len(read(impl, decoder, plan, ROWS[:1]).changes) == 2, "it is described all the same"


def test_a_row_that_is_dropped_is_not_too_large(impl: Implementation) -> None:
    decoder = impl.decoder(max_size=100)
    plan = planned(drops_x)(relation_of(COLUMNS))
    assert read(impl, decoder, plan, [["1", "x", json.dumps("y" * 200)]]).changes == []
    with pytest.raises(ChangeTooLarge):
        read(impl, decoder, plan, [["1", "a", json.dumps("y" * 200)]])


# ------------------------------------------------------------------------------------- both agree

cells = st.sampled_from([None, UNCHANGED, "", "a", "x", "h1", "k", "null", "{}", "1", b"\xff"])
sent = st.sampled_from([None, "", "a", "x", "h1", "k", "null", "{}", "1"])
rows = st.lists(cells, min_size=3, max_size=3)
sent_rows = st.lists(sent, min_size=3, max_size=3)
changes = st.one_of(
    st.builds(wire.insert, st.just(1), sent_rows),
    st.builds(wire.update, st.just(1), rows),
    st.builds(lambda new, key: wire.update(1, new, key=key), rows, sent_rows),
    st.builds(lambda new, old: wire.update(1, new, old=old), rows, rows),
    st.builds(lambda key: wire.delete(1, key=key), sent_rows),
    st.builds(lambda old: wire.delete(1, old=old), rows),
    st.just(wire.truncate(1)),
    st.binary(max_size=30).map(lambda data: wire.copy_data(b"U\0\0\0\1" + data)),
)
columns_of = st.sets(st.integers(0, 2)).map(lambda found: tuple(sorted(found)))
CONFIGURED = [  # the compiled decoder has tests and templates of its own for these
    TableRules(when="row.name != 'x' && row.id != 2"),
    TableRules(when="row.name in ['a', 'é', null] || action == 'INSERT'", on_error="keep"),
    TableRules(when="data.doc.k == 1 || row.name.startsWith('h')", on_error="drop", key=["id"]),
    TableRules(subject="o.{data.id}.{action}", headers={"Id": "<{data.id}>"}, key=["id"], skip_unchanged=True),
    TableRules(when="changed('id')", headers={"Id": "{data.id}"}, on_error="drop"),
]
RULES = [None, passes, drops, drops_x, fails_on_x, routes_by_name, *CONFIGURED]


def configured(rules: TableRules, plan: TablePlan) -> TablePlan:
    """The plan with a rule as the configuration makes it."""
    names = {"prefix": "p", "schema": "public", "table": "orders", "database": "shop"}
    routes = plan.routes._replace(truncate=None)
    maker = RuleMaker(
        rules,
        key="orders",
        relation=plan.relation,
        columns=choose_columns(rules, "events.tables.orders", plan.relation),
        kinds=bytes(KINDS.find(each.type_oid, "", "") for each in plan.relation.columns),
        routes=routes,
        names=TableNames(subject=names, plain=names),
        type_names=KINDS,
    )
    return structs.replace(plan, routes=routes, rule=maker.make())


class Shaped(NamedTuple):
    """A plan, at random."""

    apply: Any
    reads: tuple[int, ...]
    skips_unchanged: bool
    skip: tuple[int, ...]
    call: tuple[int, ...]

    def plan(self, relation: Relation) -> TablePlan:
        if isinstance(self.apply, TableRules):
            return configured(self.apply, self._replace(apply=None).plan(relation))
        return planned(**self._asdict(), description=description_of(relation))(relation)


shapes = st.builds(
    Shaped,
    st.sampled_from(RULES),
    st.lists(st.integers(0, 2), max_size=4).map(tuple),
    st.booleans(),
    columns_of,
    columns_of,
)
extras = st.builds(Extras, st.sampled_from([frozenset[str](), frozenset({"ordinal"})]), st.booleans(), st.booleans())


def outcome(
    impl: Implementation, shaped: Shaped, frames: list[bytes], **options: Any
) -> tuple[tuple[object, ...], object, str]:
    """All that a caller can see."""
    decoder = impl.decoder(shaped.plan, **options)
    words = ""
    try:
        for frame in frames:
            decoder.feed(frame)
    except DecodeError as error:
        words = f"{error.message} {error.context}"
    except ChangeRefused as error:
        words = f"{error!r} {error.relation} {error.action} {error.commit_lsn} {error.ordinal}"
    counts = decoder.filtered_count, decoder.skipped_count, decoder.passed_counts(), decoder.dropped_counts()
    return comparable(decoder.take()), counts, words


@pytest.mark.skipif(IMPL != "c", reason="nothing is compiled")
def test_a_configured_rule_is_compiled() -> None:
    for rules in CONFIGURED:
        plan = configured(rules, planned()(relation_of(COLUMNS)))
        assert plan.rule is not None
        assert plan.rule.row_rule is not None


@given(
    shapes,
    st.lists(st.lists(changes, max_size=4), max_size=3),
    extras,
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([0, 3]),
)
def test_both_decoders_agree(
    shaped: Shaped,
    transactions: list[list[bytes]],
    given_extras: Extras,
    is_full: bool,
    after: int,
    max_size: int,
) -> None:
    frames = [FULL if is_full else TABLE]
    for index, frames_of in enumerate(transactions):
        frames += transaction(*frames_of, lsn=LSN + 8 * index)
    compiled, plain = (
        outcome(impl, shaped, frames, extras=given_extras, after=Position(LSN, after), max_size=max_size)
        for impl in IMPLEMENTATIONS
    )
    assert compiled == plain


@given(shapes, st.lists(sent_rows, max_size=5), extras, st.booleans(), st.sampled_from([0, 3]))
def test_both_read_rows_alike(
    shaped: Shaped, given_rows: list[wire.Row], given_extras: Extras, has_key: bool, max_size: int
) -> None:
    def outcome_of(impl: Implementation) -> object:
        decoder = impl.decoder(extras=given_extras, max_size=max_size)
        relation = relation_of(COLUMNS)
        try:
            block = read(impl, decoder, shaped.plan(relation), given_rows, key=(ID,) if has_key else ())
        except DecodeError as error:
            return f"{error.message} {error.context}"
        except ChangeRefused as error:
            return f"{error!r} {error.relation} {error.action} {error.commit_lsn} {error.ordinal}"
        return comparable(block), decoder.filtered_count, decoder.passed_counts(), decoder.dropped_counts()

    compiled, plain = (outcome_of(impl) for impl in IMPLEMENTATIONS)
    assert compiled == plain


def test_without_a_rule_nothing_differs(impl: Implementation) -> None:
    """A plan with a shape that does nothing gives the same as one without."""
    frames = [
        FULL,
        *transaction(
            wire.insert(1, ["1", "a", "null"]),
            wire.update(1, ["1", UNCHANGED, UNCHANGED], old=["1", "a", "null"]),
            wire.update(1, ["1", None, UNCHANGED]),
            wire.update(1, ["1", "b", "{}"], key=["2", None, None]),
            wire.delete(1, old=["1", "a", "null"]),
            wire.truncate(1),
        ),
    ]
    plain = impl.decoder(lambda relation: plan_of(relation, *[b"by rule"] * 5))
    assert comparable(feed(impl.decoder(planned(passes)), *frames)) == comparable(feed(plain, *frames))
