"""`events.messages` and `events.outbox`: what is refused, and in which words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ditto.config.load import load
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def loaded(tmp_path: Path, events: str) -> object:
    file = tmp_path / "ditto.yaml"
    file.write_text(f"events:\n  {events}\n")
    return load(file, {}, {}).events


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ('messages: {"ditto.wait": a}', "events.messages.ditto.wait"),
        ('messages: {"re:a.*": a}', "looks like a regular expression"),
        ("outbox: {table: a.b, subject: x, former: {a: [b, b]}}", "names b twice"),
        ("messages: {traceparent: a}", "tell Ditto something"),
        ('messages: {"": a}', "has an empty prefix"),
        ('messages: {a: "{data.x}"}', "has the unknown placeholder {data.x}"),
        ('messages: {a: "{schema}"}', "has the unknown placeholder {schema}"),
        ('messages: {a: "$JS.x"}', "must not begin with $ or _INBOX"),
        ('messages: {a: "_INBOX.x"}', "must not begin with $ or _INBOX"),
        ('messages: {a: "a..b"}', "must give a NATS subject"),
        ("messages: {a: {on_error: drop}}", "events.messages.a in"),
        ("messages: {a: {subject: b, on_error: keep}}", "must be one of stop, drop"),
        ("messages: {a: 7}", "must be text or a mapping"),
        ("outbox: {subject: x}", "events.outbox in"),
        ("outbox: {table: public.outbox}", "has no subject"),
        ("outbox: {}", "has no table"),
        ("outbox: {table: outbox, subject: x}", "must be one table with its schema"),
        ('outbox: {table: a.b, subject: "{data.a}{data.b}"}', "must have a dot between two columns"),
        ('outbox: {table: a.b, subject: "{data.a}-{data.b}"}', "must have a dot between two columns"),
        ('outbox: {table: a.b, subject: "{table}"}', "has the unknown placeholder {table}"),
        ('outbox: {table: a.b, subject: x, payload: ""}', "must name a column"),
        ("{outbox: {table: a.b, subject: x}, tables: {a.b: [insert]}}", "both say what becomes of table a.b"),
        ('{outbox: {table: a.b, subject: "{prefix}.transactions"}, group: {}}', "have the same subject"),
    ],
)
def test_what_cannot_be(tmp_path: Path, events: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, events)
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    "events",
    [
        'messages: {"orders.*": "{message.prefix}", a: {subject: "{prefix}.{database}", on_error: drop}}',
        'outbox: {table: public.outbox, subject: "{data.topic}"}',
        "outbox: null",
        "outbox: {table: a.b, subject: '{prefix}.{data.\"odd name\"}.x.{data.b}'}",
    ],
)
def test_what_can_be(tmp_path: Path, events: str) -> None:
    assert loaded(tmp_path, events) is not None
