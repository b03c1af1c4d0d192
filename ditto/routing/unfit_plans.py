"""The plan of a relation that the rules do not fit: they count only where one of its changes is to be an event.

After a restart PostgreSQL sends the last transactions again, with their relations as they were then. Once a column has
been renamed and the rules say its new name, those relations lack it; but their changes are stored already.
"""

from __future__ import annotations

from typing import NoReturn

from ditto.decoding.messages import Relation, RuleFailed
from ditto.errors import RuleUnfit
from ditto.routing.table_plans import Routes, Rule, TablePlan, Texts


class Unfit(RuleFailed):
    """A change of such a relation. `error` says what does not fit."""

    def __init__(self, error: RuleUnfit) -> None:
        super().__init__(str(error.context.get("key", "events.tables")), error.message)
        self.error = error


def unfit_plan(relation: Relation, routes: Routes, error: RuleUnfit) -> TablePlan:
    """A plan by which changes are filtered by action, and skipped where they are stored; any other raises Unfit."""

    def refuse(_action: str, _new: Texts | None, _old: Texts | None) -> NoReturn:
        raise Unfit(error)

    kinds = bytes(len(relation.columns))
    return TablePlan(relation=relation, routes=routes, kinds=kinds, rule=Rule(columns=(), apply=refuse))
