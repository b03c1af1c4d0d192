"""Random conditions on random rows: what the compiled tests know is what the condition's function says.

    python -m fuzz.conditions SECONDS [SEED]

The function reads its values with the readers in Python, which share no code with the compiled tests.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from ditto.decoding.messages import RuleFailed
from ditto.routing.conditions import (
    ConditionError,
    TypedColumn,
    array_literals,
    columns,
    compile_condition,
    instants,
    python_code,
    readers,
)
from fuzz.random_conditions import TYPES, make_condition, make_text

if TYPE_CHECKING:
    from ditto.routing.conditions import Condition

Texts = list[str | UnsetType | None]
ROWS = 60
"""Of a condition."""


def use_plain_readers() -> None:
    """For the conditions that are compiled from now on."""
    plain: dict[Any, Any] = {
        readers.read_timestamp: instants.read_timestamp,
        readers.read_interval: instants.read_interval,
        readers.read_json: readers.pure_read_json,
    }
    for name, kind in columns._KINDS.items():
        columns._KINDS[name] = kind._replace(read=plain.get(kind.read, kind.read))
    vars(columns)["read_array"] = array_literals.read_array
    vars(python_code)["membership"] = readers.pure_membership


def check(chance: random.Random, counts: Counter[str]) -> None:
    """One condition on many rows; raises AssertionError."""
    identity = chance.choice("ffd")
    table = [TypedColumn("id", "int8", is_key=True)]
    for index in range(chance.randint(1, 4)):
        name = chance.choice(["c", 'ö "']) + str(index)
        table.append(
            TypedColumn(name, chance.choice([table[-1].type_name, *[chance.choice(TYPES)] * 2]), identity == "f")
        )
    text = make_condition(chance, table)
    try:
        found = compile_condition(text, table, schema="public", table="orders", identity=identity, rule="r")
    except ConditionError:
        counts["refused"] += 1
        return
    if found.row_test is None:
        counts["not compiled"] += 1
        return
    for _ in range(ROWS):
        compare(chance, counts, text, found, table, identity)


def compare(
    chance: random.Random, counts: Counter[str], text: str, found: Condition, table: list[TypedColumn], identity: str
) -> None:
    """On one row."""
    action = chance.choice(["INSERT", "UPDATE", "UPDATE", "DELETE", "READ", "TRUNCATE"])
    new = row(chance, table) if action in {"INSERT", "UPDATE", "READ"} else None
    old = row(chance, table) if action == "DELETE" or (action == "UPDATE" and chance.random() < 0.8) else None
    if old is not None and identity == "d":
        old = [cell if column.is_key else UNSET for cell, column in zip(old, table, strict=True)]
    if old is not None and new is not None and chance.random() < 0.3:
        new = [before if chance.random() < 0.5 else cell for before, cell in zip(old, new, strict=True)]
    assert found.row_test is not None
    known = found.row_test.judge(action, new, old)
    given = [None if cells is None else [cells[index] for index in found.columns] for cells in (new, old)]
    try:
        expected: object = found.test(action, *given)
    except RuleFailed:
        expected = "error"
    if known is not None and known is not expected:
        raise AssertionError(f"{text}\n{table}\n{action} {new} {old}\ncompiled: {known}, function: {expected}")
    counts["not known" if known is None else "known"] += 1
    counts["errors"] += expected == "error"


def row(chance: random.Random, table: list[TypedColumn]) -> Texts:
    """Some is null, some was not sent."""
    return [
        chance.choice([None, None, UNSET]) if chance.random() < 0.1 else make_text(chance, column.type_name)
        for column in table
    ]


def main(seconds: float, first: int) -> None:
    """Until the time is over, or something is wrong."""
    use_plain_readers()
    counts = Counter[str]()
    deadline = time.monotonic() + seconds
    seed = first
    while time.monotonic() < deadline:
        try:
            check(random.Random(seed), counts)
        except AssertionError as error:
            sys.exit(f"seed {seed}: {error}")
        seed += 1
    print(f"seeds {first} to {seed - 1}, no difference:", dict(counts))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000_000)
