"""Rules and formats of tables, in ns an event over the default path: `python -m benchmarks.bench_rules [NAME …]`.

A case and the default path take turns, so that both see the same machine; decoding and encoding, on captured
frames. Of formats there is also encoding alone, over Ditto's own.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from rich.progress import track
from rich.table import Table

from benchmarks import bench_formats, cores, record
from benchmarks.capture import ROWS, captured
from benchmarks.cases import terminal
from ditto.config import Events
from ditto.config.events import Action, Columns, Mask, TableRules
from ditto.decoding.column_kinds import CALL, SKIP
from ditto.decoding.messages import NO_EXTRAS, Block, Extras, Relation
from ditto.formats.choose import BlockFormat
from ditto.formats.payloads import Payloads
from ditto.routing.planner import Planner
from ditto.routing.table_plans import Routed, Rule, TablePlan, Texts

_ROUNDS: Final = 15
_QUICK_ROUNDS: Final = 5
_FORMAT_SHAPES: Final = ("trades", "updates")
_ROUTED: Final = Routed(b"ditto_public_bench")


class Limits(NamedTuple):
    """What a case may cost; None: nothing is said of it."""

    ns: int | None = None
    """Over the default path."""
    ratio: float | None = None
    """Of the default path's time."""


class RuleCase(NamedTuple):
    """One way of shaping events."""

    name: str
    shape: str
    plan: Callable[[Relation], TablePlan] = cores.default_plan
    encode_block: Callable[[Block], Payloads] = cores.FORMAT.encode
    extras: Extras = NO_EXTRAS
    limits: Limits = Limits()


def cases() -> Iterator[RuleCase]:
    """Each case, and by its name the limit that it has; `trades` has 8 columns, its updates the whole old row."""
    yield RuleCase("the default path itself", "trades", limits=Limits(ratio=1.02))
    yield RuleCase("the default path itself", "updates", limits=Limits(ratio=1.02))
    yield RuleCase("a rule that is a function, no column", "trades", _with_rule(_passes))
    yield RuleCase("a rule that is a function, two columns", "trades", _with_rule(_passes, "symbol", "price"))
    yield RuleCase("a rule that is a function, two columns", "updates", _with_rule(_passes, "symbol", "price"))
    yield RuleCase("a column excluded", "trades", _without("client_ref"), limits=Limits(ns=0))
    yield RuleCase("a column excluded", "wide", _without("document"), limits=Limits(ns=0))
    yield RuleCase("a column made by a function", "trades", _made("client_ref"))
    yield RuleCase("subject of a number", "trades", _ruled(subject=_BY_ID), limits=Limits(ns=400))
    yield RuleCase("subject of a UUID", "trades", _ruled(subject=_BY_REFERENCE), limits=Limits(ns=400))
    yield RuleCase("a header from a column", "trades", _ruled(headers={"symbol": "{data.symbol}"}))
    yield RuleCase("a key of one column", "trades", _ruled(key=["id"]))
    yield RuleCase("a column masked, HMAC", "trades", _masked(hash="hmac-sha256", key="k" * 32), limits=Limits(ns=2000))
    yield RuleCase("a column masked, its last characters", "trades", _masked(keep_last=4))
    for text in (_TWO_COLUMNS, _ABSORBED):
        yield RuleCase(f"when: {text}", "updates", _ruled(when=text), limits=Limits(ns=1000))
    for text in (_MOMENTS, _PATTERN, _NUMBERS, _INTEGERS, _PRODUCT, _PARTS, _ALTERNATIVES):
        yield RuleCase(f"when: {text}", "trades", _ruled(when=text), limits=Limits(ns=1000))
    yield RuleCase(f"when: {_ARRAY}", "arrays", _ruled(when=_ARRAY), limits=Limits(ns=1000))
    for text in (_DOCUMENT, _FIELD_AND_TEXT):
        yield RuleCase(f"when: {text}", "wide", _ruled(when=text), limits=Limits(ns=1000))
    yield RuleCase("when: changed('price')", "updates", _ruled(when="changed('price')"))
    yield RuleCase("skip_unchanged", "updates", _with_rule(_passes, skips_unchanged=True))
    for shape in _FORMAT_SHAPES:
        for name in bench_formats.LIMITS:
            plan, encode_block = bench_formats.plan_of(name), BlockFormat().encode
            limits = Limits(ratio=2.0)
            yield RuleCase(f"{name}, decoding too", shape, plan, encode_block, Extras(has_transactions=True), limits)


# ------------------------------------------------------------------------------------ plans

_BY_ID: Final = "{prefix}.{schema}.{table}.{data.id}"
_BY_REFERENCE: Final = "{prefix}.{schema}.{table}.{data.client_ref}"
_TWO_COLUMNS: Final = "data.symbol != 'none' && data.price > 0"
_MOMENTS: Final = "data.executed_at > timestamp('2020-01-01T00:00:00Z') && data.price > 0"
_PATTERN: Final = "data.symbol.matches('^[A-Z]+-[A-Z]+') && data.price > 0"
_ARRAY: Final = "7 in data.counts || 'plain' in data.tags"
_DOCUMENT: Final = "data.document.field_1 != 'none'"
_FIELD_AND_TEXT: Final = "data.document.field_21 != 'none' && data.column_01 != ''"
_NUMBERS: Final = "data.price >= 60000.0 && data.quantity < 1.5"
_PRODUCT: Final = "data.price * data.quantity > 0.001"
_PARTS: Final = "size(data.symbol) > 2 && data.executed_at.getHours() < 24"
_ALTERNATIVES: Final = "data.symbol.matches('^(BTC|ETH|[A-Z]+)-') && data.price > 0"
_INTEGERS: Final = "!(data.is_maker && data.id < 0)"
_ABSORBED: Final = "data.symbol.startsWith('X') || data.price != 0"


def _ruled(**rules: Any) -> Callable[[Relation], TablePlan]:
    """As the configuration makes it; once, since it is planned inside of what is measured."""

    async def nothing(_oid: int = 0) -> frozenset[Any]:
        return frozenset()

    @functools.cache
    def planned(relation: Relation) -> TablePlan:
        tables: dict[str, Any] = {"*": TableRules(actions=[Action.INSERT, Action.UPDATE], **rules)}
        planner = Planner(Events(tables=tables), database="bench", primary_key=nothing, not_arrays=nothing)
        return asyncio.run(planner.plan(relation))

    def plan(relation: Relation) -> TablePlan:
        return msgspec.structs.replace(planned(relation), relation=relation)

    return plan


def _masked(**mask: Any) -> Callable[[Relation], TablePlan]:
    return _ruled(columns=Columns(mask={"client_ref": Mask(**mask)}))


def _passes(action: str, new: Texts | None, old: Texts | None) -> Routed:
    return _ROUTED


def _index(relation: Relation, name: str) -> int:
    return [column.name for column in relation.columns].index(name)


def _with_rule(
    apply: Callable[[str, Texts | None, Texts | None], Routed | None], *names: str, skips_unchanged: bool = False
) -> Callable[[Relation], TablePlan]:
    def plan(relation: Relation) -> TablePlan:
        columns = tuple(_index(relation, name) for name in names)
        rule = Rule(columns=columns, apply=apply, skips_unchanged=skips_unchanged)
        return msgspec.structs.replace(cores.default_plan(relation), rule=rule)

    return plan


def _without(name: str) -> Callable[[Relation], TablePlan]:
    def plan(relation: Relation) -> TablePlan:
        made = cores.default_plan(relation)
        kinds = bytearray(made.kinds)
        kinds[_index(relation, name)] = SKIP
        return msgspec.structs.replace(made, kinds=bytes(kinds))

    return plan


def _made(name: str) -> Callable[[Relation], TablePlan]:
    def plan(relation: Relation) -> TablePlan:
        made = cores.default_plan(relation)
        kinds, index = bytearray(made.kinds), _index(relation, name)
        kinds[index] = CALL
        functions = tuple(_constant if each == index else None for each in range(len(kinds)))
        return msgspec.structs.replace(made, kinds=bytes(kinds), functions=functions)

    return plan


def _constant(text: str | None) -> str:
    return "***"


# ------------------------------------------------------------------------------------ measuring


def measure(case: RuleCase, *, rounds: int) -> dict[str, Any]:
    """The medians of the rounds: what an event of the case takes, and how much of it the default path does not."""
    frames, core = captured()[case.shape], cores.CORES[0]
    default = functools.partial(cores.decode_and_encode, core, frames)
    shaped = functools.partial(
        cores.decode_and_encode,
        core,
        frames,
        plan=case.plan,
        encode_block=case.encode_block,
        extras=case.extras,
    )
    pairs = []
    for number in range(rounds + 1):
        # Who is second finds the caches warm: they take turns at that too. The first round warms up.
        if number % 2:
            before, after = _s(default), _s(shaped)
        else:
            after, before = _s(shaped), _s(default)
        pairs.append((before, after))
    del pairs[0]
    ns = 1e9 / ROWS[case.shape]
    over_ns = ns * statistics.median(after - before for before, after in pairs)
    ratio = statistics.median(after / before for before, after in pairs)
    return {
        "case": case.name,
        "shape": case.shape,
        "ns": round(ns * statistics.median(after for _, after in pairs)),
        "over_ns": round(over_ns),
        "ratio": round(ratio, 3),
        "limit_ns": case.limits.ns,
        "limit_ratio": case.limits.ratio,
    }


def _s(run: Callable[[], int]) -> float:
    """Seconds of CPU time. They are divided by the rows: a row that a rule drops counts, too."""
    started = time.thread_time()
    run()
    return time.thread_time() - started


def table(results: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="rules and formats, decode and encode (compiled)", title_justify="left")
    for heading in ("case", "shape", "ns/event", "over the default path, ns", "ratio", "limit"):
        made.add_column(heading, justify="left" if heading in {"case", "shape"} else "right")
    for each in results:
        limits = [f"{each['limit_ns']:,} ns"] if each["limit_ns"] is not None else []
        limits += [f"{each['limit_ratio']} x"] if each["limit_ratio"] is not None else []
        made.add_row(
            each["case"],
            each["shape"],
            f"{each['ns']:,}",
            f"{each['over_ns']:+,}",
            f"{each['ratio']:.3f}",
            ", ".join(limits) or "-",
        )
    return made


def main(*, quick: bool = False, names: Sequence[str] = ()) -> dict[str, Any]:
    """Measure the cases whose names have one of `names` in them; all without."""
    console = terminal()
    with console.status("capturing frames from PostgreSQL"):
        captured()
    chosen = [case for case in cases() if not names or any(name in case.name for name in names)]
    rounds = _QUICK_ROUNDS if quick else _ROUNDS
    results = [
        measure(case, rounds=rounds) for case in track(chosen, description="rules", console=console, transient=True)
    ]
    for shape in _FORMAT_SHAPES:
        formats = bench_formats.measure(shape, rounds=rounds, names=("ditto", *bench_formats.LIMITS))
        results += [each for each in formats if not names or any(name in each["case"] for name in names)]
    console.print(table(results))
    return record.write("rules", results, quick=quick, is_partial=bool(names))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_rules")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROUNDS} rounds instead of {_ROUNDS}")
    parser.add_argument("names", nargs="*", help="only cases whose names have one of these in them")
    given = parser.parse_args()
    main(quick=given.quick, names=given.names)
