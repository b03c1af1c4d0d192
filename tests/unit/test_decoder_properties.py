"""What holds for every input: generated streams, cut-off frames, and bytes that nobody should send."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.decoding import column_kinds
from ditto.decoding.column_kinds import ARRAY, ARRAY_SEMICOLON, ELEMENT, HSTORE, JSON, TEXT
from ditto.decoding.messages import Relation
from ditto.decoding.size_limit import least_size
from ditto.errors import DecodeError
from ditto.lsn import ORIGIN, Position
from ditto.routing.table_plans import TablePlan
from unit import captured, wire
from unit.implementations import IMPLEMENTATIONS, Implementation, comparable, encode, pass_all, plan_of, positions
from unit.wire import UNCHANGED, Column

SCALARS = sorted(
    number
    for name, number in vars(column_kinds).items()
    if name.isupper() and isinstance(number, int) and number < ELEMENT
)
KINDS = [*SCALARS, *(flag | kind for flag in (ARRAY, ARRAY_SEMICOLON) for kind in SCALARS)]


class Outcome(NamedTuple):
    """What came of a stream: everything that a caller can see of it."""

    block: tuple[object, ...]
    counts: tuple[int, int, int]
    relations: list[object]
    failed_at: int | None
    words: str


def outcome(impl: Implementation, frames: list[bytes], after: Position = ORIGIN) -> Outcome:
    relations: list[object] = []

    def plan(relation: Relation) -> TablePlan:
        relations.append(relation)
        # Filters some of the actions of some of the tables.
        passed = pass_all(relation)
        return plan_of(relation, None, *passed.routes[1:]) if relation.oid % 3 == 1 else passed

    decoder = impl.decoder(plan, after=after)
    failed_at, words = None, ""
    for index, frame in enumerate(frames):
        try:
            decoder.feed(frame)
        except DecodeError as error:
            failed_at, words = index, f"{error.message} {error.context}"
            break
    counts = (decoder.skipped_count, decoder.filtered_count, decoder.logical_message_count)
    return Outcome(comparable(decoder.take()), counts, relations, failed_at, words)


def agree(frames: list[bytes], after: Position = ORIGIN) -> Outcome:
    compiled, plain = (outcome(impl, frames, after) for impl in IMPLEMENTATIONS)
    assert compiled == plain
    return compiled


# ------------------------------------------------------------------------------------- generated streams

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(-(1 << 31), (1 << 31) - 1)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


class Change(NamedTuple):
    action: str
    is_full: bool
    new: tuple[int, str | None, Any]
    old: tuple[int, str | None, Any]
    is_unchanged: bool


rows = st.tuples(numbers, st.none() | texts, documents)
changes = st.builds(Change, st.sampled_from(["I", "U", "UK", "D", "T", "M"]), st.booleans(), rows, rows, st.booleans())
transactions = st.lists(st.tuples(st.integers(1, 1 << 40), st.lists(changes, max_size=5)), max_size=5)


def columns(*, is_full: bool) -> list[Column]:
    return [Column("id", wire.INT4, True), Column("näme", wire.TEXT, is_full), Column("doc", wire.JSONB, is_full)]


def cells(row: tuple[int, str | None, Any]) -> wire.Row:
    return [str(row[0]), row[1], json.dumps(row[2])]


def expected_event(change: Change) -> tuple[str, dict[str, Any], dict[str, Any], list[str] | None]:
    new, old = (dict(zip(("id", "näme", "doc"), row, strict=True)) for row in (change.new, change.old))
    key = {"id": old["id"]}
    if change.action == "I":
        return "INSERT", new, {}, None
    if change.action == "D":
        return "DELETE", {}, old if change.is_full else key, None
    if change.action == "T":
        return "TRUNCATE", {}, {}, None
    before = old if change.is_full else key if change.action == "UK" else {}
    if change.is_unchanged:
        if change.is_full:
            return "UPDATE", {**new, "doc": old["doc"]}, before, None
        del new["doc"]
        return "UPDATE", new, before, ["doc"]
    return "UPDATE", new, before, None


def frame_of(change: Change) -> bytes:
    oid = 2 if change.is_full else 3
    new, old = cells(change.new), cells(change.old)
    key: wire.Row = [old[0], None, None]
    if change.action == "M":
        return wire.logical_message()
    if change.action == "T":
        return wire.truncate(oid)
    if change.action == "I":
        return wire.insert(oid, new)
    if change.action == "D":
        return wire.delete(oid, old=old) if change.is_full else wire.delete(oid, key=key)
    if change.is_unchanged:
        new[2] = UNCHANGED
    if change.is_full:
        return wire.update(oid, new, old=old)
    return wire.update(oid, new, key=key if change.action == "UK" else None)


def stream_of(given_transactions: list[tuple[int, list[Change]]]) -> tuple[list[bytes], list[Position], list[Any]]:
    """The frames, and what has to come out of them."""
    frames = [wire.relation(2, "full", columns(is_full=True), identity="f")]
    frames.append(wire.relation(3, "plain", columns(is_full=False)))
    wanted: list[Any] = []
    places: list[Position] = []
    lsn = 0
    for step, changes_of in given_transactions:
        lsn += step + 8
        frames.append(wire.begin(lsn))
        for ordinal, change in enumerate(changes_of, 1):
            frames.append(frame_of(change))
            if change.action != "M":
                places.append(Position(lsn, ordinal))
                wanted.append((change.is_full, expected_event(change)))
        frames.append(wire.commit(lsn))
    return frames, places, wanted


@given(transactions)
def test_what_is_encoded_decodes_to_the_same(given_transactions: list[tuple[int, list[Change]]]) -> None:
    frames, places, wanted = stream_of(given_transactions)
    for impl in IMPLEMENTATIONS:
        block = impl.decode(frames)
        assert positions(block) == places
        events = [json.loads(payload) for payload in encode(block.changes)]
        for event, (is_full, (action, data, old, unchanged)) in zip(events, wanted, strict=True):
            assert event["table"] == ("full" if is_full else "plain")
            assert (event["action"], event["data"], event["dataOld"]) == (action, data, old)
            assert event.get("unchanged") == unchanged


@given(transactions, st.data())
def test_resuming_anywhere_gives_exactly_the_rest(
    given_transactions: list[tuple[int, list[Change]]], data: st.DataObject
) -> None:
    frames, places, _ = stream_of(given_transactions)
    near = [Position(lsn + step, ordinal) for lsn, ordinal in places for step in (-1, 0, 1)]
    after = data.draw(st.sampled_from([ORIGIN, *places, *near]))
    for impl in IMPLEMENTATIONS:
        block = impl.decode(frames, after=after)
        assert positions(block) == [place for place in places if place > after]
        assert block.changes == impl.decode(frames).changes[len(places) - len(block.changes) :]


# ------------------------------------------------------------------------------------- broken frames

CONTEXT = [
    wire.begin(100),
    wire.relation(3, "plain", columns(is_full=False)),
    wire.relation(2, "t", columns(is_full=True)),
]
ROW: wire.Row = ["1", "a text", '{"a": 1}']
FRAMES = {
    "begin": ([], wire.begin(100)),
    "commit": (CONTEXT, wire.commit(100)),
    "relation": ([], wire.relation(1, "t", columns(is_full=True))),
    "type": ([], wire.type_(1, "public", "mood")),
    "origin": ([], wire.origin("elsewhere")),
    "insert": (CONTEXT, wire.insert(3, ROW)),
    "update": (CONTEXT, wire.update(3, ["1", None, UNCHANGED])),
    "update with a key": (CONTEXT, wire.update(3, ROW, key=["1", None, None])),
    "update with an old row": (CONTEXT, wire.update(2, ROW, old=ROW)),
    "delete": (CONTEXT, wire.delete(3, key=["1", None, None])),
    "delete with an old row": (CONTEXT, wire.delete(2, old=ROW)),
    "truncate": (CONTEXT, wire.truncate(2, 3)),
    "message": (CONTEXT, wire.logical_message()),
    "keepalive": ([], wire.keepalive(5)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_truncated_prefix_is_an_error(impl: Implementation, name: str) -> None:
    before, frame = FRAMES[name]
    impl.decode([*before, frame])
    for length in range(len(frame)):
        with pytest.raises(DecodeError):
            impl.decode([*before, frame[:length]])


@pytest.mark.parametrize("name", FRAMES)
def test_every_trailing_byte_is_an_error(impl: Implementation, name: str) -> None:
    before, frame = FRAMES[name]
    with pytest.raises(DecodeError, match="1 bytes too many"):
        impl.decode([*before, frame + b"\0"])


@given(st.data())
def test_captured_frames_cut_off_are_errors(data: st.DataObject) -> None:
    frames = list(captured.frames(data.draw(st.sampled_from(captured.MAJORS)), "types"))
    index = data.draw(st.integers(0, len(frames) - 1))
    cut = frames[index][: data.draw(st.integers(0, len(frames[index]) - 1))]
    for impl in IMPLEMENTATIONS:
        decoder = impl.decoder()
        for frame in frames[:index]:
            decoder.feed(frame)
        with pytest.raises(DecodeError):
            decoder.feed(cut)


TAGS = [bytes([tag]) for tag in b"BCRYIUDTMOSEcAbPKrp"]
payloads = st.builds(bytes.__add__, st.sampled_from(TAGS), st.binary(max_size=60))
frames_of_anything = st.one_of(
    st.binary(max_size=80),
    payloads.map(wire.copy_data),
    st.binary(min_size=17, max_size=17).map(b"k".__add__),
    st.sampled_from([frame for _, frame in FRAMES.values()]),
)


@given(st.lists(frames_of_anything, max_size=8), st.booleans())
def test_both_agree_on_anything(frames: list[bytes], is_open: bool) -> None:
    agree([*CONTEXT, *frames] if is_open else frames)


class Edit(NamedTuple):
    frame: int
    place: int
    what: str
    data: bytes


edits = st.builds(
    Edit,
    st.integers(0, 200),
    st.integers(0, 2000),
    st.sampled_from(["set", "set", "insert", "cut", "drop", "repeat", "swap"]),
    st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"n", b"u", b"t", b"K", b"O", b"N", b"\xff" * 4])),
)


def apply(frames: list[bytes], edit: Edit) -> None:
    index = edit.frame % len(frames)
    frame = frames[index]
    place = edit.place % (len(frame) or 1)
    if edit.what == "set":
        frames[index] = frame[:place] + edit.data + frame[place + len(edit.data) :]
    elif edit.what == "insert":
        frames[index] = frame[:place] + edit.data + frame[place:]
    elif edit.what == "cut":
        frames[index] = frame[:place]
    elif edit.what == "repeat":
        frames.insert(index, frame)
    elif edit.what == "swap":
        frames[index - 1], frames[index] = frame, frames[index - 1]
    elif len(frames) > 1:
        del frames[index]


@given(
    st.sampled_from([(major, name) for major in captured.MAJORS for name in ("types", "changes")]),
    st.lists(edits, min_size=1, max_size=3),
    st.integers(0, 30),
    st.integers(0, 4),
)
def test_both_agree_on_what_postgres_sent_with_a_few_bytes_changed(
    source: tuple[str, str], given_edits: list[Edit], begin: int, ordinal: int
) -> None:
    frames = list(captured.frames(*source))
    lsns = [int.from_bytes(frame[26:34]) for frame in frames if frame[25:26] == b"B"]
    for edit in given_edits:
        apply(frames, edit)
    agree(frames, Position(lsns[begin], ordinal) if begin < len(lsns) else ORIGIN)


@pytest.mark.parametrize("major", captured.MAJORS)
def test_both_agree_on_what_postgres_sent(major: str) -> None:
    for name in ("types", "changes"):
        assert agree(list(captured.frames(major, name))).failed_at is None


# ------------------------------------------------------------------------------------- values

SYNTAX = rb"""{}[]:;=,"\NULLnulltf0123456789-+.eE \x/TZaAfF"""
values = st.one_of(
    st.binary(max_size=24),
    st.lists(st.sampled_from([bytes([byte]) for byte in SYNTAX]), max_size=24).map(b"".join),
    st.lists(st.sampled_from([b"{", b"}", b",", b'"', b"\\", b"1", b"NULL", b"[1:2]", b"=", b";"]), max_size=20).map(
        b"".join
    ),
    st.from_regex(rb"\A-?[0-9]{0,21}(\.[0-9]*)?([eE][+-]?[0-9]*)?\Z"),
    st.from_regex(rb"\A[0-9]{4,6}-[0-9]{2}-[0-9]{2} [0-9:.]{0,15}(\+00)?( BC)?\Z"),
    st.binary(max_size=20).map(lambda data: b"\\x" + data.hex().encode()),
    st.lists(
        st.sampled_from([b'"', b'""', b'"a"', b"=>", b", ", b"NULL", b"\\", b'"', b"\xc3\xa9", b" "]), max_size=14
    ).map(b"".join),
    st.dictionaries(texts, st.none() | texts, max_size=4).map(lambda pairs: pairs_literal(pairs).encode()),
    st.lists(documents.map(json.dumps) | st.sampled_from(["null", " null ", "[1]"]), max_size=4).map(
        lambda items: literal(items, ",").encode()
    ),
)


def converted(impl: Implementation, data: bytes, kind: int) -> object:
    try:
        value = impl.convert(data, kind)
    except UnicodeDecodeError:
        return UnicodeDecodeError
    return type(value), repr_of(value)


def repr_of(value: Any) -> object:
    """Raw JSON has no equality of its own, and 1 == True."""
    return type(value), bytes(value) if isinstance(value, msgspec.Raw) else str(value)


@given(values, st.sampled_from(KINDS))
def test_both_convert_anything_alike(data: bytes, kind: int) -> None:
    compiled, plain = (converted(impl, data, kind) for impl in IMPLEMENTATIONS)
    assert compiled == plain


def quoted(text: str | None) -> str:
    return "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(items: list[Any], delimiter: str) -> str:
    parts = (literal(item, delimiter) if isinstance(item, list) else quoted(item) for item in items)
    return "{" + delimiter.join(parts) + "}"


def pairs_literal(pairs: dict[str, str | None]) -> str:
    return ", ".join(f"{quoted(key)}=>{quoted(value)}" for key, value in pairs.items())


def in_json(value: object) -> Any:
    """What a consumer reads."""
    return json.loads(msgspec.json.encode(value))


def nested(depth: int) -> st.SearchStrategy[list[Any]]:
    """Arrays of that many dimensions: PostgreSQL has at most six."""
    if depth == 1:
        return st.lists(st.none() | texts, max_size=3)
    return st.lists(nested(depth - 1), min_size=1, max_size=2)


@given(st.integers(1, 7).flatmap(lambda depth: st.tuples(st.just(depth), nested(depth))), st.sampled_from(",;"))
def test_an_array_comes_back_as_it_was(array: tuple[int, list[Any]], delimiter: str) -> None:
    depth, items = array
    text = literal(items, delimiter)
    kind = TEXT | (ARRAY if delimiter == "," else ARRAY_SEMICOLON)
    for impl in IMPLEMENTATIONS:
        value = impl.convert(text.encode(), kind)
        assert in_json(value) == (items if depth <= 6 else text)
        assert len(msgspec.json.encode(value)) >= least_size(kind, len(text.encode()))


@given(st.dictionaries(texts, st.none() | texts))
def test_an_hstore_comes_back_as_it_was(pairs: dict[str, str | None]) -> None:
    for impl in IMPLEMENTATIONS:
        text = pairs_literal(pairs).encode()
        value = impl.convert(text, HSTORE)
        assert in_json(value) == pairs
        assert len(bytes(value)) >= least_size(HSTORE, len(text))


@given(st.lists(st.none() | documents.map(json.dumps) | st.sampled_from([" null\n", "null"])), st.integers(1, 2))
def test_an_array_of_json_is_a_list_where_nothing_is_lost(items: list[str | None], depth: int) -> None:
    """A document that is null would read as NULL, and one that is a list as another dimension."""
    text = literal(items if depth == 1 else [items], ",")
    is_exact = depth == 1 and all(item is None or item.strip() != "null" for item in items)
    for impl in IMPLEMENTATIONS:
        value = impl.convert(text.encode(), ARRAY | JSON)
        if is_exact:
            expected = (b"null" if item is None else item.encode() for item in items)
            assert bytes(value) == b"[%b]" % b",".join(expected)
            assert len(bytes(value)) >= least_size(ARRAY | JSON, len(text.encode()))
        else:
            assert value == text
