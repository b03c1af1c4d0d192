"""Events to bytes in each format, in comparison with Ditto's own: `python -m benchmarks.bench_formats [SHAPE …]`.

Encoding alone, headers included: what the decoder makes of values belongs to decoding. The formats take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Final

from rich.table import Table

from benchmarks import cores
from benchmarks.capture import ROWS, captured
from benchmarks.cases import terminal
from ditto.config import Events
from ditto.decoding.column_kinds import KINDS
from ditto.decoding.messages import Block, Extras, Relation
from ditto.formats.choose import BlockFormat, TableFormats
from ditto.routing.table_plans import Routes, TablePlan

FORMATS: Final = ("ditto", "cloudevents", "cloudevents-binary", "debezium", "debezium-schema", "msgpack")
LIMITS: Final = {"debezium": 1.4, "msgpack": 1.0}
"""How many times as long as Ditto's own a format may take."""
_ROUNDS: Final = 15
_SUBJECT: Final = b"ditto_public_bench"
_BLOCK: Final = 1000


def blocks(name: str, frames: Sequence[bytes]) -> list[Block]:
    """The frames decoded for a format."""
    found = TableFormats(Events(), system_identifier="7234567890123456789", database="bench").find(name)

    def plan(relation: Relation) -> TablePlan:
        kinds = bytes(KINDS.find(each.type_oid, each.type_namespace, each.type_name) for each in relation.columns)
        routes = Routes(_SUBJECT, _SUBJECT, _SUBJECT, _SUBJECT)
        if found is None:
            return TablePlan(relation=relation, routes=routes, kinds=kinds)
        layout = found.layout(relation, kinds)
        functions = layout.functions if any(layout.functions) else ()
        return TablePlan(relation=relation, routes=routes, kinds=layout.kinds, functions=functions, layout=layout)

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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_formats")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help="of " + ", ".join(ROWS))
    table = Table("shape", "format", "ns an event", "times Ditto's", "limit")
    for shape in parser.parse_args().shapes or list(ROWS):
        made = {name: blocks(name, captured()[shape]) for name in FORMATS}
        rounds = [{name: encode_ns(made[name]) for name in FORMATS} for _ in range(_ROUNDS + 1)][1:]
        for name in FORMATS:
            ns = statistics.median(each[name] for each in rounds)
            ratio = statistics.median(each[name] / each["ditto"] for each in rounds)
            table.add_row(shape, name, f"{ns:.0f}", f"{ratio:.2f}", str(LIMITS.get(name, "")))
    terminal().print(table)


if __name__ == "__main__":
    main()
