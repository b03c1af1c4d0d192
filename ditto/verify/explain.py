"""Sorts what does not match in a table: differences, and what no event can tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ditto.verify.difference import Difference
from ditto.verify.recreated import Suspect
from ditto.verify.row_matching import MISSING, differing_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ditto.verify.row_matching import Match, Real, Values
    from ditto.verify.table_history import History
    from ditto.verify.tables import Copied, Fault

MAX_DIFFERENCES: Final = 1000
"""Listed for one table."""

_KEY_FAULTS: Final = frozenset({"inserted twice", "updated to the key of another row"})


@dataclass(kw_only=True)
class Outcome:
    """The result for one table."""

    differences: list[Difference] = field(default_factory=list)
    suspects: list[Suspect] = field(default_factory=list)
    """Differences, unless there was another table of this name."""
    reasons: dict[str, None] = field(default_factory=dict)
    """Why some rows or columns cannot be compared, in the order in which they were found."""


def explain(
    table: str,
    match: Match,
    left: Sequence[Copied],
    faults: Sequence[Fault],
    history: History,
    *,
    has_orphans: bool,
    has_shapes: bool,
) -> Outcome:
    """`left` are the rows that only the copy has, `faults` the events that do not fit the earlier ones."""
    explainer = _Explainer(table, match, history, has_orphans=has_orphans, has_shapes=has_shapes)
    for real, copied, columns in match.mismatches:
        explainer.mismatch(real, copied, columns)
    unmatched, left = explainer.pair(match.unmatched, left)
    for real in unmatched:
        explainer.missing(real)
    for fault in faults:
        explainer.fault(fault)
    for copied in left:
        explainer.surplus(copied)
    outcome = explainer.outcome
    outcome.differences = listed(outcome.differences, table, others=match.unexamined)
    del outcome.suspects[MAX_DIFFERENCES:]
    return outcome


def listed(found: list[Difference], table: str, *, others: int) -> list[Difference]:
    """The first of them; before these, where there are more, how many. `others` were not looked at."""
    count = max(0, len(found) - MAX_DIFFERENCES) + others
    more = [Difference(f"{count:,} more that do not match than are listed", table, "")] if count else []
    return more + found[:MAX_DIFFERENCES]


class _Explainer:
    def __init__(self, table: str, match: Match, history: History, *, has_orphans: bool, has_shapes: bool) -> None:
        self.outcome = Outcome()
        self._table = table
        self._match = match
        self._history = history
        self._has_orphans = has_orphans
        self._has_shapes = has_shapes
        self._not_found = 0
        """Rows of an earlier shape that were changed or deleted, and are still in the copy: they were not found."""

    def mismatch(self, real: Real, copied: Values, columns: tuple[int, ...]) -> None:
        differing = []
        for at, reason in zip(columns, self._reasons(real, copied, columns), strict=True):
            if reason:
                self.outcome.reasons[reason] = None
            else:
                differing.append(self._match.columns[at])
        if differing:
            self._differ("different values", real.values, differing)

    def pair(self, unmatched: list[Real], left: Sequence[Copied]) -> tuple[list[Real], list[Copied]]:
        """Pair what differs only in columns whose values no event can tell; returns what is left of both."""
        copies = [(copied, self._match.values_of(copied)) for copied in left]
        by_columns: dict[tuple[int, ...], dict[Values, list[int]]] = {}
        paired: set[int] = set()
        alone = []
        for real in unmatched:
            told = tuple(
                at for at in range(len(real.values)) if self._reason(real, at, is_missing=True, is_other=True) is None
            )
            if len(told) == len(real.values):
                alone.append(real)
                continue
            if told not in by_columns:
                index: dict[Values, list[int]] = {}
                for number, (_, values) in enumerate(copies):
                    index.setdefault(_chosen(values, told), []).append(number)
                by_columns[told] = index
            for number in by_columns[told].get(_chosen(real.values, told), ()):
                copied = copies[number][1]
                if number in paired:
                    continue
                reasons = self._reasons(real, copied, differing_columns(real.values, copied))
                if all(reasons):
                    paired.add(number)
                    self.outcome.reasons |= dict.fromkeys(filter(None, reasons))
                    break
            else:
                alone.append(real)
        return alone, [copied for number, (copied, _) in enumerate(copies) if number not in paired]

    def missing(self, real: Real) -> None:
        reason = self._history.of_missing_row(real.version, has_orphans=self._has_orphans)
        if reason:
            self.outcome.reasons[reason] = None
        else:
            self._differ("missing row", real.values)

    def surplus(self, copied: Copied) -> None:
        values = self._match.values_of(copied)
        lacking = self._match.lacks_key(values)
        reason = self._history.of_column(lacking) if lacking else None
        if reason and not self._match.is_keyed:
            # A row that a later event was about, and that was not found then; others should have been deleted.
            self._not_found -= 1
            reason = reason if self._not_found >= 0 else None
        if reason:
            self.outcome.reasons[reason] = None
        else:
            difference = Difference("extra row", self._table, self._match.where(values))
            self.outcome.suspects.append(Suspect(copied.last_lsn, difference))

    def fault(self, fault: Fault) -> None:
        is_of_key = fault.kind in _KEY_FAULTS
        reason = (
            self._history.of_key()
            if is_of_key
            else self._history.of_fault(has_orphans=self._has_orphans, has_shapes=self._has_shapes)
        )
        if reason:
            self.outcome.reasons[reason] = None
            self._not_found += not is_of_key
        else:
            difference = Difference(fault.kind, self._table, fault.where)
            self.outcome.suspects.append(Suspect(fault.earlier_lsn if is_of_key else fault.lsn, difference))

    def _reasons(self, real: Real, copied: Values, columns: tuple[int, ...]) -> list[str | None]:
        """Why each of these columns differs; None where nothing tells."""
        missing = [at for at, value in enumerate(copied) if value is MISSING]
        is_other = any(self._reason(real, at, is_missing=True, is_other=False) for at in missing)
        return [self._reason(real, at, is_missing=at in missing, is_other=is_other) for at in columns]

    def _reason(self, real: Real, at: int, *, is_missing: bool, is_other: bool) -> str | None:
        column = self._match.columns[at]
        return self._history.of_value(column, real.version, real.texts[at], is_missing=is_missing, is_other=is_other)

    def _differ(self, kind: str, values: Values, columns: Sequence[str] = ()) -> None:
        self.outcome.differences.append(Difference(kind, self._table, self._match.where(values), tuple(columns)))


def _chosen(values: Values, numbers: tuple[int, ...]) -> Values:
    return tuple(None if values[at] is MISSING else values[at] for at in numbers)
