"""Which pipelines take from one publication, or store in one stream."""

from __future__ import annotations

from typing import Any

import pytest

from ditto.api.fleet.remains import There, sentences, shared_with
from ditto.fleet.document import resolve
from ditto.fleet.shared_places import same_publication, same_stream

ENVIRON = {"SHOP": "postgres://ditto:secret@db/shop", "PASSWORD": "secret"}


def source(dsn: str | None = None, publication: str | None = None, slot: str = "shop") -> dict[str, Any]:
    given = {"dsn": dsn, "publication": publication, "slot": slot}
    return {"postgres": {name: each for name, each in given.items() if each is not None}}


ONE = "postgres://ditto@db/shop"


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        (source(ONE, "shop"), source("host=db user=other dbname=shop", "shop", "other"), True),
        (source(ONE, "shop"), source(ONE, "trades"), False),
        (source(ONE, "shop"), source("postgres://ditto@db/trades", "shop"), False),
        (source(ONE, "shop"), source("postgres://ditto@db2/shop", "shop"), False),
        (source(ONE, "shop"), source("${SHOP}", "shop"), True),
        (source(ONE, "shop"), source("${NOWHERE}", "shop"), True),
        (source(ONE), source(ONE, "ditto"), True),
    ],
)
def test_the_same_publication(one: dict[str, Any], other: dict[str, Any], is_shared: bool) -> None:
    for left, right in ((one, other), (other, one)):
        assert bool(same_publication(left, [("trades", right)], ENVIRON)) == is_shared


def sink(stream: str | None = None, **values: Any) -> dict[str, Any]:
    return {"nats": ({} if stream is None else {"stream": stream}) | values}


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        (sink("SHOP"), sink("SHOP"), True),
        (sink("SHOP"), sink("TRADES"), False),
        (sink("SHOP", url=["nats://n1:4222", "nats://n2:4222"]), sink("SHOP", url="nats://n2:4222"), True),
        (sink("SHOP", url="nats://n1:4222"), sink("SHOP", url="tls://ditto:${PASSWORD}@n1:4222"), True),
        (sink("SHOP", url="nats://n1:4222"), sink("SHOP", url="nats://n3:4222"), False),
        (sink("SHOP", url="nats://n1:4222"), sink("SHOP", url="nats://n1:4222", domain="hub"), False),
        (sink("SHOP", url="nats://n1:4222"), sink("SHOP", url="${NOWHERE}"), True),
        (sink("SHOP"), sink("SHOP") | {"file": {"path": "/tmp/x"}}, False),
        ({}, sink("DITTO"), True),
    ],
)
def test_the_same_stream(one: dict[str, Any], other: dict[str, Any], is_shared: bool) -> None:
    for left, right in ((one, other), (other, one)):
        assert bool(same_stream(left, [("trades", right)], ENVIRON)) == is_shared


def test_nobody_is_told_to_remove_what_another_pipeline_needs() -> None:
    mine = source(ONE, "shop", "mine") | sink("SHOP")
    theirs = source(ONE, "shop", "theirs") | sink("SHOP")
    there = There(slot=True, publication=True, stored=True)
    kept = sentences(
        resolve("mine", mine, {}), there, shared_with(mine, [("theirs", theirs)], {}), is_slot_dropped=True
    )
    assert kept == [
        "the publication shop stays: it is also that of pipeline theirs",
        "the stream SHOP stays with its events: it is also that of pipeline theirs",
    ]
