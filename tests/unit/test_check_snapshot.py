"""The findings about snapshots that are judged without I/O."""

from __future__ import annotations

import pytest
from msgspec import structs

from ditto.check.snapshot import duration, rights, transactions_finding
from ditto.source.blockers import Blocker
from ditto.source.snapshot_look import Looked


def looked(rows: float, size: float) -> Looked:
    return Looked(
        schema="s",
        name="t",
        may_use_schema=True,
        may_select=True,
        has_row_security=False,
        has_key=True,
        rows=rows,
        bytes=size,
    )


@pytest.mark.parametrize(
    ("rows", "size", "limit", "text"),
    [
        (0, 0, 0, "about 0 rows (0 bytes), and may take 1 s"),
        (10_000_000, 1 << 30, 0, "about 10,000,000 rows (1 GB), and may take 3 min"),
        (1000, 100 << 30, 0, "about 1,000 rows (100 GB), and may take 85 min"),
        (10_000_000, 1 << 30, 1000, "may take 3 h at 1,000 rows a second (snapshot.max_rows_per_s)"),
        (10_000_000, 1 << 30, 1_000_000, "may take 3 min"),
    ],
)
def test_how_long(rows: float, size: float, limit: int, text: str) -> None:
    finding = duration([looked(rows, size)], limit)
    assert finding.level == "ok"
    assert text in finding.what
    assert "estimate" in finding.why


def test_rights() -> None:
    readable = looked(1, 1)
    closed = structs.replace(readable, schema="S", name="Odd Name", may_use_schema=False, may_select=False)
    secured = structs.replace(readable, name="rls", has_row_security=True)
    (fine,) = rights([readable], "me")
    assert fine.level == "ok"
    first, second = rights([readable, closed, secured], "me")
    assert first.what == "me may not read S.Odd Name"
    assert first.fix == 'GRANT USAGE ON SCHEMA "S" TO "me";\nGRANT SELECT ON "S"."Odd Name" TO "me";'
    assert second.what == "row-level security would hide rows from me: s.rls"


def test_transactions() -> None:
    young = Blocker(1, 700, 5.0, "PID 1 (active)")
    hidden = Blocker(2, 701, None, "PID 2")
    assert transactions_finding([]).level == "ok"
    assert transactions_finding([young, hidden]).level == "ok"
    old = Blocker(3, 650, 7200.0, "PID 3 (idle in transaction)")
    prepared = Blocker(None, 702, 1.0, "prepared transaction 'x'")
    finding = transactions_finding([old, young, prepared])
    assert finding.level == "warning"
    assert "transaction 650 of PID 3 (idle in transaction), open for 2 h" in finding.what
    assert "transaction 702 of prepared transaction 'x', open for 1 s" not in finding.what
    assert "prepared transaction 'x'" in finding.what
    assert "PID 1 " not in finding.what
