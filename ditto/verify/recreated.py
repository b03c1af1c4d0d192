"""Tables that were dropped and created again under their name: DROP TABLE sends no events, so the stream still has the
rows of the former table.

Only transaction ids tell when a table was made, and only LSNs when an event was stored. Rows that are in both tell of
some transactions both, which brackets the moment.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from ditto.verify.difference import Difference, Unjudged

if TYPE_CHECKING:
    from ditto.verify.table_history import Xids

_REASON: Final = (
    "it was made after the publication, and events that are older than its rows may be of a table that had its name "
    "before: DROP TABLE sends no event"
)


class Suspect(NamedTuple):
    """A difference that the rows of a former table would explain."""

    lsn: int
    """Of the last event of the row that is too many."""
    difference: Difference


class _Case(NamedTuple):
    created: int
    is_young: bool
    first_lsn: int | None
    suspects: list[Suspect]


class RecreatedTables:
    """Collects the evidence of all tables, and decides at the end."""

    def __init__(self, xids: Xids) -> None:
        self._xids = xids
        self._lsn_of_xid: dict[int, int] = {}
        self._cases: list[_Case] = []

    def learn(self, lsn_of_xid: dict[int, int]) -> None:
        """Where transactions were committed."""
        self._lsn_of_xid |= lsn_of_xid

    def suspect(self, *, created: int, is_young: bool, first_lsn: int | None, suspects: list[Suspect]) -> None:
        """`is_young`: the table was made after the publication. `first_lsn`: where its first row was inserted."""
        self._cases.append(_Case(created, is_young, first_lsn, suspects))

    def decide(self) -> tuple[list[Difference], list[Unjudged]]:
        """The differences, and the tables of which that cannot be told."""
        # By age, the youngest first.
        known = sorted((self._xids.age(xid), lsn) for xid, lsn in self._lsn_of_xid.items())
        ages = [age for age, _ in known]
        differences: list[Difference] = []
        unjudged: dict[str, None] = {}
        for case in self._cases:
            at = bisect_left(ages, self._xids.age(case.created))
            # A transaction that began later ends after the table was begun, whenever that is.
            not_after = min((lsn for _, lsn in known[:at]), default=None)
            # One that began earlier has mostly ended before: not if it ended after one that began later.
            not_before = max((lsn for _, lsn in known[at:] if not_after is None or lsn < not_after), default=0)
            for lsn, difference in case.suspects:
                is_of_this = case.first_lsn is not None and lsn >= case.first_lsn
                is_late = not_after is not None and lsn >= not_after
                if not is_of_this and (lsn < not_before or (case.is_young and not is_late)):
                    unjudged[difference.table] = None
                else:
                    differences.append(difference)
        return differences, [Unjudged(table, _REASON) for table in unjudged]
