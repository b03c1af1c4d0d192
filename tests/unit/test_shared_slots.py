"""Which pipelines read one slot."""

from __future__ import annotations

from typing import Any

import pytest

from ditto.fleet.shared_slots import shared_slot


def document(dsn: str | None = None, slot: str | None = "shop") -> dict[str, Any]:
    given = {"dsn": dsn, "slot": slot}
    return {"postgres": {name: each for name, each in given.items() if each is not None}}


ONE = "postgres://ditto@db/shop"


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        (document(ONE), document(ONE), True),
        (document(ONE), document(ONE, "trades"), False),
        (document(ONE), document("host=db port=5432 user=other dbname=shop"), True),
        (document(ONE), document("postgres://ditto@db:5433/shop"), False),
        (document(ONE), document("postgres://ditto@db2/shop"), False),
        (document(ONE), document("${SHOP}"), True),
        (document("postgres://${HOST}/shop"), document("${SHOP}"), True),
        (document("${NOWHERE}"), document("${NOWHERE}"), True),
        (document("${NOWHERE}"), document(ONE), False),
        (document(slot=None), document("postgres://localhost:5432/x", slot="ditto"), True),
        (document("not a dsn ="), document(ONE), False),
        ({}, {"postgres": None}, True),
    ],
)
def test_the_same_slot_of_the_same_server(one: dict[str, Any], other: dict[str, Any], is_shared: bool) -> None:
    environ = {"SHOP": f"{ONE}?password=secret", "HOST": "db"}
    for left, right in ((one, other), (other, one)):
        assert bool(shared_slot(left, [("trades", right)], environ)) == is_shared


def test_the_sentence() -> None:
    others = [(f"p{index}", document(ONE)) for index in range(7)]
    (said,) = shared_slot(document(ONE), others, {})
    assert said.startswith("postgres.slot: shop is also the slot of pipelines p0, p1, p2, p3, p4 and 2 more; only one")
