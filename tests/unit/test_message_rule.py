"""Which logical messages are stored, and on which subjects."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.config import Events
from ditto.config.events import Group, MessageRules
from ditto.decoding.messages import RuleFailed
from ditto.errors import ConfigError
from ditto.routing.message_rule import (
    first_escaped,
    has_open_subjects,
    make_message_rule,
    message_subjects,
    subject_tokens,
)
from ditto.routing.route_limit import RouteLimit
from ditto.routing.table_plans import Routed
from ditto.sinks.jetstream.subjects import subject_matches


def route_of(messages: dict[str, str | MessageRules], prefix: str, content: bytes = b"x") -> str | None:
    rule = make_message_rule(Events(prefix="shop", messages=messages), database="db.x")
    assert rule is not None
    routed = rule(prefix, content, True)
    return None if routed is None else routed.route.decode()


def test_without_any_there_is_no_rule() -> None:
    assert make_message_rule(Events(), database="db") is None


@pytest.mark.parametrize(
    ("prefix", "route"),
    [
        ("orders.created", "orders.created"),
        ("orders", None),
        ("orders.special", "shop.special.db%2Ex"),
        ("orders.a b", "orders.a%20b"),
        ("orders..", "orders.%empty.%empty"),
        ("orders.%empty", "orders.%25empty"),
        ("ditto.wait", None),
        ("ditto.other", None),
        ("traceparent", None),
        ("traceparents", None),
        ("Orders.x", None),
    ],
)
def test_routes(prefix: str, route: str | None) -> None:
    messages: dict[str, str | MessageRules] = {
        "orders.*": "{message.prefix}",
        "orders.special": "{prefix}.special.{database}",
        "d*": "{prefix}.d",
        "t*": "{prefix}.t",
    }
    assert route_of(messages, prefix) == route


def test_what_a_rule_says_besides() -> None:
    rule = make_message_rule(Events(messages={"a": "a"}), database="db")
    assert rule is not None
    enveloped = b'{"ditto":{"headers":{"t":"x"},"key":"k","id":"i"},"payload":1}'
    lines = b"Ditto-Id: i\r\nContent-Type: application/json\r\nt: x\r\n"
    assert rule("a", enveloped, False) == Routed(b"a", lines, b"k")


@pytest.mark.parametrize("prefix", ["shop._checkpoint", "shop._schema.a.b", "shop._snapshot.x", "%" * 500, "é" * 600])
def test_impossible_subjects(prefix: str) -> None:
    with pytest.raises(RuleFailed, match="subject"):
        route_of({"*": "{message.prefix}"}, prefix)
    assert route_of({"*": MessageRules(subject="{message.prefix}", on_error="drop")}, prefix) is None


@pytest.mark.parametrize("on_error", ["drop", "stop"])
def test_a_subject_that_is_too_long_for_the_sink(on_error: Literal["drop", "stop"]) -> None:
    events = Events(messages={"*": MessageRules(subject="{message.prefix}", on_error=on_error)})
    rule = make_message_rule(events, database="db", limit=RouteLimit(10, len, "characters of a topic"))
    assert rule is not None
    assert rule("x" * 10, b"1", True) is not None
    refused = pytest.raises(RuleFailed, match="takes more than 10 characters of a topic")
    with refused if on_error == "stop" else nullcontext():
        assert rule("x" * 11, b"1", True) is None


def test_impossible_subjects_that_are_known_at_start() -> None:
    with pytest.raises(ConfigError, match="a subject that Ditto uses itself"):
        message_subjects(Events(messages={"a": "{prefix}._checkpoint"}), database="db")


@pytest.mark.parametrize(
    ("key", "template", "covering"),
    [
        ("a", "x.{message.prefix}", "x.a"),
        ("a.b.*", "{message.prefix}", "a.b.>"),
        ("a.b*", "{message.prefix}", "a.>"),
        ("a..*", "{message.prefix}", "a.%empty.>"),
        ("*", "{prefix}.{message.prefix}", "ditto.>"),
        ("*", "{prefix}.all", "ditto.all"),
        ("$JS.*", "{message.prefix}", "%24JS.>"),
        ("a*", "{message.prefix}", None),
        ("[ab].c", "{message.prefix}", None),
    ],
)
def test_what_covers_the_subjects(key: str, template: str, covering: str | None) -> None:
    events = Events(messages={key: template})
    assert message_subjects(events, database="db") == ({covering} - {None})
    assert has_open_subjects(events, database="db") == (covering is None)


@given(st.text(), st.text())
def test_no_two_prefixes_share_a_subject(one: str, other: str) -> None:
    first, second = (first_escaped(subject_tokens(each)) for each in (one, other))
    assert (first == second) == (one == other)
    assert all(first.split("."))
    assert not first.startswith("$")
    assert not any(sign in first for sign in "*> \t\r\n\0")


@given(st.text())
def test_what_covers_a_pattern_covers_each_of_its_messages(rest: str) -> None:
    events = Events(messages={"a.b*": "{message.prefix}"})
    rule = make_message_rule(events, database="db")
    assert rule is not None
    (covering,) = message_subjects(events, database="db")
    routed = rule(f"a.b{rest}", b"", True)
    assert routed is not None
    assert subject_matches(covering, routed.route.decode())


def test_the_subject_of_groups_is_taken() -> None:
    """A body there would be taken for an event of the group."""
    events = Events(prefix="shop", messages={"*": "{prefix}.{message.prefix}"}, group=Group())
    rule = make_message_rule(events, database="db")
    assert rule is not None
    with pytest.raises(RuleFailed, match="one that Ditto uses itself"):
        rule("transactions", b"x", True)
    with pytest.raises(ConfigError, match="Ditto uses itself"):
        message_subjects(Events(messages={"transactions": "{prefix}.{message.prefix}"}, group=Group()), database="db")


def test_a_prefix_that_no_header_can_hold() -> None:
    with pytest.raises(RuleFailed, match="prefix has more than 1024 characters"):
        route_of({"*": "{prefix}.audit"}, "p" * 1025)
    assert route_of({"*": MessageRules(subject="{prefix}.audit", on_error="drop")}, "p" * 100_000) is None
    assert route_of({"*": "{prefix}.audit"}, "é" * 1024) == "shop.audit"
