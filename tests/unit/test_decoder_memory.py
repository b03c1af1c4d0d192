"""Decoding again and again takes no more memory than decoding once: the compiled core frees what it takes."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from fuzz.random_rules import Table
from fuzz.rules import make_planner
from msgspec import structs

from ditto.config import Events
from ditto.config.events import Action, Columns, Mask, TableRules
from ditto.decoding.choose import IMPL
from ditto.errors import DecodeError
from ditto.formats.ditto import DittoFormat
from unit import captured, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from ditto.decoding.messages import Relation
    from ditto.routing.table_plans import TablePlan
    from unit.implementations import Implementation

STATUS = Path("/proc/self/status")
WARM_UP = 50
ROUNDS = 200
BOUND = 1_000_000
"""Bytes. A leak of one value in a thousand would show: each round holds some 500 values, or 100 kB."""


ATTEMPTS = 4


def own_bytes() -> int:
    """The process's own memory. Its resident size counts pages of files, too, which a busy machine takes and gives back
    at any time: that is where 1 MB more came from now and then.
    """
    if STATUS.exists():
        found = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return 1024 * sum(int(found[name].split()[0]) for name in ("RssAnon", "VmSwap"))
    return psutil.Process().memory_info().rss


def growth(work: Callable[[], None]) -> int:
    """By how much the process is larger after many rounds, in bytes: the least of some attempts. A leak is in each of
    them; the allocator takes memory ahead, and from threads of other tests' libraries, in one of them.
    """
    for _ in range(WARM_UP):
        work()
    least = sys.maxsize
    for _ in range(ATTEMPTS):
        gc.collect()
        before = own_bytes()
        for _ in range(ROUNDS):
            work()
        gc.collect()
        least = min(least, own_bytes() - before)
        if least < BOUND:
            break
    return least


@pytest.mark.parametrize("name", ["types", "changes"])
def test_decoding(impl: Implementation, name: str) -> None:
    frames = captured.frames("18", name)

    def work() -> None:
        DittoFormat().encode(impl.decode(frames))

    assert growth(work) < BOUND


def test_errors(impl: Implementation) -> None:
    frames = captured.frames("18", "types")
    inserts = [frame for frame in frames if frame[25:26] == b"I"]
    before = frames[: frames.index(inserts[0])]
    broken = [inserts[0][:-length] for length in range(1, 60, 8)] + [inserts[0].replace(b"fine", b"\xff\xff\xff\xff")]

    def work() -> None:
        decoder = impl.decoder()
        for frame in before:
            decoder.feed(frame)
        for frame in broken:
            with suppress(DecodeError):
                decoder.feed(frame)

    assert growth(work) < BOUND


WHEN = (
    "(data.price * 2 > 1 || data.doc.k == 'é') && data.name.matches('^(a|b)') && !(data.name in ['x', 'y']) "
    "&& (data.price > dataOld.price || data.price < 3.5 || size(data.name) > 300 || 'c' in data.tags)"
)


def test_rules(impl: Implementation) -> None:
    """Conditions, subjects, headers and masks."""
    columns = [
        wire.Column("id", wire.INT4, True), wire.Column("name", is_key=True), wire.Column("price", 1700, True),
        wire.Column("doc", wire.JSONB, True), wire.Column("tags", 1009, True),
    ]  # fmt: skip
    table = Table(1, "orders", columns, "f", frozenset())
    rules = TableRules(
        actions=[Action.INSERT, Action.UPDATE],
        when=WHEN,
        subject="{prefix}.orders.{data.name}",
        headers={"price": "{data.price}"},
        columns=Columns(mask={"tags": Mask(keep_last=2)}),
        on_error="drop",
    )
    planner = make_planner(Events(tables={"*": rules}), [table], has_keys=True)
    rows: list[wire.Row] = [
        [str(n), name, price, '{"k": "é", "l": [1]}', "{a,c}"]
        for n, name in enumerate([*["b" * 150] * 9, "x", "été"])
        for price in ("0.25", "100.50", "NaN", None)
    ]
    changes = [wire.insert(1, row) for row in rows]
    changes += [wire.update(1, new, old=old) for new, old in zip(rows, rows[1:] + rows[:1], strict=True)]

    made: list[TablePlan] = []

    def plan(relation: Relation) -> TablePlan:
        made[:] = made or [asyncio.run(planner.plan(relation))]
        return structs.replace(made[0], relation=relation)

    def work() -> None:
        decoder = impl.decoder(plan)
        for frame in (wire.relation(1, "orders", columns, identity="f"), wire.begin(7), *changes, wire.commit(7)):
            decoder.feed(frame)
        block = decoder.take()
        assert 40 < len(block.changes) < len(changes)
        DittoFormat().encode(block)

    assert growth(work) < BOUND


@pytest.mark.skipif(IMPL != "c", reason="they are the compiled core's")
def test_what_conditions_are_made_of() -> None:
    """It is made anew after each DDL: a condition of each kind that holds memory of its own."""
    from ditto.routing.conditions._json_tests import JsonOrder  # noqa: PLC0415 -- the compiled core's
    from ditto.routing.conditions._text_tests import TextIsOneOf, TextMatches  # noqa: PLC0415

    texts = [b"x"] * 30
    parts = [(b"a", False, 1, 1)] * 10
    path = (b"a",) * 30

    def work() -> None:
        for _ in range(50):
            TextIsOneOf("data", 0, None, texts)
            TextMatches("data", 0, None, parts, True, True)
            JsonOrder("data", 0, None, path, True, 1, 1, None)

    assert growth(work) < BOUND
