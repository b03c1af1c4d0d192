"""The plan of an outbox, and the messages that its rows become; with both decoders."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ditto.config import Events
from ditto.config.events import Group, Outbox, TableRules
from ditto.decoding.messages import Column, Relation, RuleFailed
from ditto.errors import ConfigError, RuleUnfit
from ditto.formats.base import KeyedLayout
from ditto.formats.bodies import with_bodies
from ditto.formats.ditto import DittoFormat
from ditto.formats.msgpack import MessagePack
from ditto.formats.own_headers import pairs
from ditto.pipeline.planning import make_format
from ditto.routing.message_rule import make_message_rule
from ditto.routing.planner import Planner
from unit import wire
from unit.implementations import pass_all

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ditto.decoding.messages import Block
    from ditto.routing.table_plans import TablePlan
    from unit.implementations import Implementation

LSN = 0x16_B374D848
TYPES = {"uuid": 2950, "text": 25, "jsonb": 3802, "bytea": 17, "int8": 20, "json": 114}
COLUMNS = {"id": "uuid", "topic": "text", "kind": "text", "payload": "jsonb", "headers": "jsonb", "key": "int8"}
OTHER = wire.relation(2, "other", [wire.Column("id", 23, is_key=True)])


def relation_of(**types: str) -> Relation:
    columns = tuple(Column(name, TYPES[type_name], -1, False) for name, type_name in {**COLUMNS, **types}.items())
    return Relation(1, "public", "outbox", "d", columns)


def frame_of(relation: Relation) -> bytes:
    return wire.relation(1, relation.name, [wire.Column(each.name, each.type_oid) for each in relation.columns])


def events_of(**outbox: str) -> Events:
    given: dict[str, Any] = {
        "table": "public.outbox",
        "subject": "{prefix}.{data.topic}",
        "headers": "headers",
        **outbox,
    }
    return Events(prefix="shop", outbox=Outbox(**given), messages={"m": "{prefix}.m"})


@pytest.mark.parametrize(
    "subject",
    [
        "{prefix}._checkpoint",
        "{prefix}._schema.a",
        "{prefix}._snapshot.{data.topic}",
        "shop._schema.{data.kind}.{data.topic}",
        "{prefix}.groups.{database}",
        "x." * 600 + "y",
    ],
)
def test_a_subject_that_no_row_may_ever_have_is_refused_before_the_first(subject: str) -> None:
    events = replace(events_of(subject=subject), group=Group(subject="{prefix}.groups.{database}"))
    with pytest.raises(ConfigError, match=r"events\.outbox\.subject gives a subject that Ditto uses itself"):
        planner_of(events)


@pytest.mark.parametrize(
    ("prefix", "subject"),
    [("m.*", "{prefix}._checkpoint"), ("_schema.*", "{prefix}.{message.prefix}"), ("m.*", "{prefix}._snapshot.x")],
)
def test_a_pattern_whose_messages_are_all_on_dittos_own_subjects_is_refused(prefix: str, subject: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"events.messages.{prefix} gives a subject that Ditto uses")):
        planner_of(Events(prefix="shop", messages={prefix: subject}))


@pytest.mark.parametrize(
    "subject",
    ["{data.topic}", "{prefix}.{data.topic}", "{prefix}._check{data.topic}", "{prefix}._schemas.{data.topic}"],
)
def test_a_subject_that_most_rows_may_have_is_fine(subject: str) -> None:
    planner_of(events_of(subject=subject))


def planner_of(events: Events) -> Planner:
    return Planner(events, database="shop", primary_key=no_key, not_arrays=no_arrays)


async def no_key(_: int) -> Collection[str]:
    return ()


async def no_arrays() -> set[tuple[str, str]]:
    return set()


def planned(events: Events, relation: Relation) -> TablePlan:
    planner = Planner(events, database="db", primary_key=no_key, not_arrays=no_arrays)
    return asyncio.run(planner.plan(relation))


def decoded(impl: Implementation, events: Events, rows: Sequence[wire.Row], **types: str) -> Block:
    """Rows of the outbox, between two of another table, and a logical message."""
    relation = relation_of(**types)
    rule = make_message_rule(events, database="db")
    decoder = impl.decoder(
        lambda each: planned(events, each) if each.name == "outbox" else pass_all(each), message_rule=rule
    )
    frames = [wire.begin(LSN), OTHER, wire.insert(2, ["1"]), frame_of(relation)]
    frames += [wire.insert(1, row) for row in rows]
    frames += [wire.logical_message(b"[1]", prefix="m"), wire.insert(2, ["2"]), wire.commit(LSN)]
    for frame in frames:
        decoder.feed(frame)
    return decoder.take()


def bodies(block: Block, events: Events) -> list[bytes]:
    return [bytes(each) for each in with_bodies(DittoFormat(), events).encode(block).each()]


def test_messages_among_events(impl: Implementation) -> None:
    events = events_of(id="id", key="key")
    block = decoded(impl, events, [["u-1", "a.b", None, '{"x": 1}', '{"tenant": "acme"}', "7"]])
    first, message, logical, last = bodies(block, events)
    assert first.startswith(b'{"id":"')
    assert last.startswith(b'{"id":"')
    assert message == b'{"x": 1}'
    assert logical == b"[1]"
    assert block.routes[1:3] == [b"shop.a.b", b"shop.m"]
    assert block.headers is not None
    headers = [pairs(lines) for lines in block.headers]
    assert headers[0] == headers[3] == {}
    assert headers[1] == {
        "Ditto-Id": "u-1",
        "Ditto-Event": headers[1]["Ditto-Event"],
        "Ditto-Commit-Time": headers[1]["Ditto-Commit-Time"],
        "Ditto-Outbox": "public.outbox",
        "Content-Type": "application/json",
        "tenant": "acme",
    }
    assert (headers[2]["Ditto-Message"], headers[2]["Ditto-Id"][:8]) == ("m", headers[1]["Ditto-Event"][:8])
    assert block.keys == [None, b"7", None, None]


def test_without_the_keys_nothing_changes() -> None:
    own = DittoFormat()
    assert with_bodies(own, Events()) is own


@pytest.mark.parametrize(
    ("subject", "topic", "kind", "found"),
    [
        ("{data.topic}", "a.b", "k", "a.b"),
        ("{data.topic}", "$JS.API", "k", "%24JS.API"),
        ("{data.topic}", "_INBOX.x", "k", "%5FINBOX.x"),
        ("{data.topic}", None, "k", "%null"),
        ("{data.topic}", "", "k", "%empty"),
        ("{prefix}.{data.topic}.{data.kind}", "a.b", "c.d", "shop.a%2Eb.c.d"),
        ("{prefix}.{data.topic}.x", "a.b", "k", "shop.a%2Eb.x"),
        ("{prefix}.{database}.{data.kind}", "a", "k", "shop.db.k"),
        ("whole", "a", "k", "whole"),
    ],
)
def test_subjects(impl: Implementation, subject: str, topic: str | None, kind: str, found: str) -> None:
    block = decoded(impl, events_of(subject=subject), [["u", topic, kind, None, None, None]])
    assert block.routes[1].decode() == found


@pytest.mark.parametrize(
    ("topic", "headers"),
    [("_checkpoint", None), ("_schema.x", None), ("x" * 1100, None), ("a", "[]"), ("a", '{"Nats-TTL": "1"}')],
)
def test_rows_that_cannot_be_sent(impl: Implementation, topic: str, headers: str | None) -> None:
    row: wire.Row = ["u", topic, None, None, headers, None]
    with pytest.raises(RuleFailed) as caught:
        decoded(impl, events_of(), [row])
    assert caught.value.relation == "public.outbox"
    assert len(decoded(impl, events_of(on_error="drop"), [row]).changes) == 3


def test_updates_and_deletes_are_no_messages(impl: Implementation) -> None:
    events = events_of()
    decoder = impl.decoder(lambda each: planned(events, each))
    row: wire.Row = ["u", "a", None, None, None, None]
    for frame in (
        wire.begin(LSN),
        frame_of(relation_of()),
        wire.update(1, row),
        wire.delete(1, old=row),
        wire.truncate(1),
        wire.commit(LSN),
    ):
        decoder.feed(frame)
    block = decoder.take()
    assert block.changes == []
    assert block.delivered is None


@pytest.mark.parametrize(
    ("outbox", "types", "sentence"),
    [
        ({"payload": "body"}, {}, "names the column body"),
        ({"key": "kye"}, {}, "did you mean key"),
        ({"subject": "{data.nothing}"}, {}, "events.outbox.subject names the column nothing"),
        ({}, {"payload": "int8"}, "whose type is int8"),
        ({}, {"headers": "bytea"}, "whose type is bytea"),
    ],
)
def test_what_does_not_fit_the_table(outbox: dict[str, str], types: dict[str, str], sentence: str) -> None:
    with pytest.raises(RuleUnfit, match=sentence):
        planned(events_of(**outbox), relation_of(**types))


@pytest.mark.parametrize("key", ["outbox", "public.*", "*", "re:.*"])
def test_what_events_tables_hides_of_it_is_refused_where_messages_would_have_it(key: str) -> None:
    for columns in ({"mask": {"topic": {"null": True}}}, {"exclude": ["payload"]}, {"include": ["id", "key"]}):
        rules = msgspec.convert({"columns": columns}, TableRules)
        with pytest.raises(RuleUnfit, match=rf"events\.tables\.{re.escape(key)} hides it"):
            planned(replace(events_of(), tables={key: rules}), relation_of())
    unused = msgspec.convert({"columns": {"exclude": ["kind"]}, "when": "data.id > 1"}, TableRules)
    assert planned(replace(events_of(), tables={key: unused}), relation_of()).rule is not None


TOPICS = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@given(TOPICS, TOPICS, TOPICS, TOPICS)
def test_no_two_rows_share_a_subject_and_none_leaves_its_place(one: str, two: str, three: str, four: str) -> None:
    plan = planned(events_of(subject="{prefix}.{data.topic}.{data.kind}"), relation_of())
    assert plan.rule is not None
    names = [list(COLUMNS)[index] for index in plan.rule.columns]
    found = []
    for topic, kind in ((one, two), (three, four)):
        row = {"topic": topic, "kind": kind}
        routed = plan.rule.apply("INSERT", [row.get(name) for name in names], None)
        assert routed is not None
        found.append(routed.route.decode())
    assert (found[0] == found[1]) == ((one, two) == (three, four))
    assert found[0].startswith("shop.")
    assert all(found[0].split("."))
    assert found[0].isprintable() or not found[0].isascii()
    assert not any(sign in found[0] for sign in "*> \r\n")


@given(TOPICS.filter(bool))
def test_an_id_of_the_applications_is_one_line(text: str) -> None:
    plan = planned(events_of(id="kind"), relation_of())
    assert plan.rule is not None
    names = [list(COLUMNS)[index] for index in plan.rule.columns]
    row = {"topic": "a", "kind": text}
    try:
        routed = plan.rule.apply("INSERT", [row.get(name) for name in names], None)
    except RuleFailed:
        assert len(text.encode()) * 3 > 512
        return
    assert routed is not None
    assert unquote(pairs(routed.headers)["Ditto-Id"]) == text


def test_messages_beside_tables_of_another_format(impl: Implementation) -> None:
    """A block in which formats meet."""
    events = events_of(id="id")
    block = decoded(impl, events, [["u-1", "a", None, '{"x": 1}', '{"tenant": "acme"}', None]])
    other = MessagePack()
    layout = KeyedLayout(other, b"", (), names=(), keys=())
    block.layouts = [layout, None, None, layout]
    payloads = [bytes(each) for each in make_format(events).encode(block).each()]
    assert payloads[1:3] == [b'{"x": 1}', b"[1]"]
    assert block.headers is not None
    assert block.headers[1].count(b"Ditto-Id: ") == block.headers[2].count(b"Ditto-Id: ") == 1
    assert pairs(block.headers[1])["Ditto-Id"] == "u-1"
    assert pairs(block.headers[1])["tenant"] == "acme"
