"""What `ditto check` says of the oldest open transaction."""

from __future__ import annotations

import pytest

from ditto.check.transactions import transaction_finding
from ditto.source.transactions import OpenTransaction

SMALL = 1000
LARGE = 2 << 30


def session(age_s: float | None) -> OpenTransaction:
    return OpenTransaction(
        pid=17, gid=None, database="shop", application="psql", state="idle in transaction", age_s=age_s
    )


def prepared(gid: str, age_s: float) -> OpenTransaction:
    return OpenTransaction(pid=None, gid=gid, database="shop", application=None, state="prepared", age_s=age_s)


def test_none() -> None:
    assert transaction_finding(None, LARGE).level == "ok"


def test_a_young_one_is_named_all_the_same() -> None:
    finding = transaction_finding(session(10), LARGE)
    assert finding.level == "ok"
    assert "PID 17 (database shop, application psql, idle in transaction), open for 10 s" in finding.what


@pytest.mark.parametrize("retained_bytes", [SMALL, LARGE])
def test_an_old_one(retained_bytes: int) -> None:
    finding = transaction_finding(session(7200), retained_bytes)
    assert finding.level == "warning"
    assert "open for 2 h" in finding.what
    assert (finding.fix or "").startswith("SELECT pg_catalog.pg_terminate_backend(17);")
    assert finding.fix_in == "psql"


def test_one_whose_age_is_hidden_counts_as_old_when_much_is_retained() -> None:
    assert transaction_finding(session(None), SMALL).level == "ok"
    assert transaction_finding(session(None), LARGE).level == "warning"


def test_an_orphaned_prepared_transaction() -> None:
    finding = transaction_finding(prepared("it's", 400), SMALL)
    assert finding.level == "warning"
    assert 'prepared transaction "it\'s" (database shop)' in finding.what
    assert finding.fix == "ROLLBACK PREPARED 'it''s';"
