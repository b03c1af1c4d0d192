"""The check of a stream against the ledger finds each kind of fault, and nothing in a good stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from e2e.ledger import UNDONE, check
from e2e.world import Stored

from ditto.lsn import Position


def stored(commit_lsn: int, ordinal: int, table: str, **data: Any) -> Stored:
    payload = json.dumps({"table": table, "action": "INSERT", "data": data, "dataOld": {}}).encode()
    return Stored(0, f"w_public_{table}", Position(commit_lsn, ordinal), payload)


GOOD = [
    stored(10, 1, "account", id=1, note="kept"),
    stored(10, 2, "entry", id=1, note="kept"),
    stored(10, 3, "ledger", id=7, row_count=2),
    stored(20, 1, "fence", n=1),
    stored(25, 0, "checkpoint"),
    stored(30, 1, "account", id=2, note=None),
    stored(30, 2, "ledger", id=8, row_count=1),
]
ROWS = [(7, 2), (8, 1)]


def test_nothing_is_found_in_a_good_stream() -> None:
    assert check(GOOD, ROWS) == []


@pytest.mark.parametrize(
    ("messages", "rows", "words"),
    [
        (GOOD[1:], ROWS, "the changes are not 1 to 2"),
        ([GOOD[0], GOOD[2]._replace(position=Position(10, 2)), *GOOD[3:]], ROWS, "1 changes, and 2 in the ledger"),
        ([*GOOD[:2], *GOOD[3:]], ROWS, "0 entries of the ledger"),
        (GOOD[:5], ROWS, "transaction 8 is missing"),
        (GOOD, ROWS[:1], "transaction 8 was never committed"),
        ([*GOOD, *(each._replace(position=Position(40, each.position.ordinal)) for each in GOOD[5:])], ROWS, "twice"),
        ([stored(5, 1, "account", id=3, note=UNDONE), stored(5, 2, "ledger", id=7, row_count=1), *GOOD[5:]], ROWS,
         "rolled back"),
    ],
)  # fmt: skip
def test_each_kind_of_fault_is_found(messages: list[Stored], rows: list[tuple[int, int]], words: str) -> None:
    assert any(words in each for each in check(messages, rows))
