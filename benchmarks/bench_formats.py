"""Events to bytes in each format, in comparison with Ditto's own: `python -m benchmarks.bench_formats [SHAPE …]`.

Encoding alone, headers included: what the decoder makes of values belongs to decoding, and `bench_rules` has both
together. The formats take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from rich.table import Table

from benchmarks import cores
from benchmarks.capture import ROWS, captured
from benchmarks.cases import terminal
from ditto.config import Events
from ditto.decoding.messages import Block, Extras, Relation
from ditto.formats.choose import BlockFormat, TableFormats
from ditto.routing.table_plans import TablePlan

FORMATS: Final = ("ditto", "cloudevents", "cloudevents-binary", "debezium", "debezium-schema", "msgpack")
LIMITS: Final = {"debezium": 1.4, "msgpack": 1.0}
"""How many times as long as Ditto's own a format may take."""
_ROUNDS: Final = 15
_BLOCK: Final = 1000


def plan_of(name: str) -> Callable[[Relation], TablePlan]:
    """Plans of tables with this format."""
    found = TableFormats(Events(), system_identifier="7234567890123456789", database="bench").find(name)

    def plan(relation: Relation) -> TablePlan:
        usual = cores.default_plan(relation)
        if found is None:
            return usual
        layout = found.layout(relation, usual.kinds)
        functions = layout.functions if any(layout.functions) else ()
        return msgspec.structs.replace(usual, kinds=layout.kinds, functions=functions, layout=layout)

    return plan


def blocks(name: str, frames: Sequence[bytes]) -> list[Block]:
    """The frames decoded for a format."""
    plan = plan_of(name)
    decoder = cores.CORES[0].decoder(id_key=bytes(16), extras=Extras(has_transactions=True))
    made: list[Block] = []
    for number, frame in enumerate(frames):
        decoder.feed(frame)
        if (relation := decoder.relation) is not None:
            decoder.take()
            decoder.define(relation.oid, plan(relation))
        elif number % _BLOCK == 0:
            made.append(decoder.take())
    made.append(decoder.take())
    return [block for block in made if block.changes]


def encode_ns(made: Sequence[Block]) -> float:
    """Nanoseconds of CPU time an event."""
    encoder, count = BlockFormat(), 0
    for block in made:
        block.headers = None
    started = time.thread_time_ns()
    for block in made:
        count += len(encoder.encode(block).ends)
    return (time.thread_time_ns() - started) / count


def measure(shape: str, *, rounds: int, names: Sequence[str] = FORMATS) -> Iterator[dict[str, Any]]:
    """Medians of each format, as `bench_rules` has those of rules."""
    made = {name: blocks(name, captured()[shape]) for name in names}
    found = [{name: encode_ns(made[name]) for name in names} for _ in range(rounds + 1)][1:]
    for name in names:
        yield {
            "case": f"{name}, encoding alone",
            "shape": shape,
            "ns": round(statistics.median(each[name] for each in found)),
            "over_ns": round(statistics.median(each[name] - each["ditto"] for each in found)),
            "ratio": round(statistics.median(each[name] / each["ditto"] for each in found), 3),
            "limit_ns": None,
            "limit_ratio": LIMITS.get(name),
        }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_formats")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help="of " + ", ".join(ROWS))
    table = Table("shape", "format", "ns an event", "times Ditto's", "limit")
    for shape in parser.parse_args().shapes or list(ROWS):
        for each in measure(shape, rounds=_ROUNDS):
            limit = each["limit_ratio"]
            name = each["case"].partition(",")[0]
            table.add_row(shape, name, f"{each['ns']}", f"{each['ratio']:.2f}", "" if limit is None else str(limit))
    terminal().print(table)


if __name__ == "__main__":
    main()
