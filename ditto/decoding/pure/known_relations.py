"""The relations that have been described, and their plans, in plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ditto.decoding.messages import Extras, Relation
from ditto.decoding.pure.block import BlockBuilder, Plan
from ditto.errors import ConnectionLost, DecodeError
from ditto.lsn import Transaction

if TYPE_CHECKING:
    from ditto.routing.table_plans import TablePlan

_ACTION_COUNT: Final = 5
DROPPED: Final = _ACTION_COUNT
"""Behind the counts of the actions: how many changes the table's rule has dropped."""


class KnownRelations(BlockBuilder):
    """A Relation message ends the block; its changes can be decoded once `define` has given the plan."""

    def __init__(self, id_key: bytes, extras: Extras, described: Mapping[bytes, str]) -> None:
        super().__init__(id_key, extras, described)
        self._has_forgotten = False
        self._plans: dict[int, Plan] = {}
        self._undefined: dict[int, Relation] = {}  # those that wait for their plans
        self._counts: dict[tuple[str, str], list[int]] = {}  # survives a table's next Relation message

    def define(self, oid: int, plan: TablePlan) -> None:
        """Give the plan of a relation that has been described. Raises ValueError for a plan of another one."""
        relation = plan.relation
        if self._undefined.get(oid) is not relation:
            raise ValueError(f"relation {oid} does not wait for this plan")
        self._plans[oid] = Plan(plan, self._counts_of(relation))
        del self._undefined[oid]

    def last_transaction(self) -> Transaction | None:
        """The last one that has begun; None where none has."""
        return Transaction(self._commit_lsn, self._commit_time, self._xid) if self._commit_lsn else None

    def passed_counts(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """By schema and table, how many changes were handed on: inserts, updates, deletes, truncates, rows read."""
        return {table: tuple(counts[:_ACTION_COUNT]) for table, counts in self._counts.items()}

    def dropped_counts(self) -> dict[tuple[str, str], int]:
        """By schema and table, how many changes its rule has dropped; they are part of `filtered_count`."""
        return {table: count for table, counts in self._counts.items() if (count := counts[DROPPED])}

    @property
    def relation_count(self) -> int:
        """How many relations are defined."""
        return len(self._plans)

    @property
    def passed_lsn(self) -> int:
        """Everything that began to commit before this LSN has been decoded."""
        return max(self._commit_lsn, self._idle_lsn)

    def relations(self) -> dict[int, Relation]:
        """What is defined, by OID."""
        return {oid: plan.relation for oid, plan in self._plans.items()}

    def forget(self, relations: Mapping[int, Relation]) -> set[tuple[str, str]]:
        """Give up these relations, unless they have been described anew since. Returns the tables that are left out.

        Should one come again all the same, it raises ConnectionLost: the next connection describes everything.
        """
        routes = {}
        for oid, relation in relations.items():
            plan = self._plans.get(oid)
            if plan is not None and plan.relation is relation:
                del self._plans[oid]
                routes[relation.namespace, relation.name] = plan.description_route
        kept = [plan.relation for plan in self._plans.values()]
        gone = set(routes) - {(each.namespace, each.name) for each in (*kept, *self._undefined.values())}
        for table in gone:
            self._counts.pop(table, None)
            if (route := routes[table]) is not None:
                self._described.pop(route, None)
        self._has_forgotten = True
        return gone

    def _describe_relation(self, relation: Relation) -> None:
        self._plans.pop(relation.oid, None)
        self._undefined[relation.oid] = self._block.relation = relation
        self._is_stopped = True

    def _counts_of(self, relation: Relation) -> list[int]:
        return self._counts.setdefault((relation.namespace, relation.name), [0] * (_ACTION_COUNT + 1))

    def _plan(self, oid: int) -> Plan:
        plan = self._plans.get(oid)
        if plan is None and oid in self._undefined:
            raise DecodeError(f"a change of relation {oid}, which was not defined")
        if plan is None and self._has_forgotten:
            raise ConnectionLost(f"a change of relation {oid}, which had been dropped: it is described again")
        if plan is None:
            raise DecodeError(f"a change of relation {oid}, which was not described")
        return plan
