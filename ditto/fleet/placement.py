"""Which node is to run which pipeline, from what the buckets say now: `assign` with what each node has found out.

A node looks at each document before it is to run it (`readiness`), and says which ones it cannot run: a variable, a
file or a package is missing there. Such a pipeline goes to the next node of its rank. One that runs on a live node
leaves it only for a node that has been heard of since this one began to watch, has looked at its newest revision, and
can run it; and stays where no other node can.
"""

from __future__ import annotations

from typing import Final

from ditto.fleet.assignment import Candidate, Wanted, assign, can_run
from ditto.fleet.bucket_copy import Copy
from ditto.fleet.document import Document, labels_of
from ditto.fleet.membership import Membership
from ditto.fleet.records import Assignment, Failure, Problem, Readiness, Record

_CODE: Final = 5
_MOST_NAMES: Final = 5
_KEEP_DOCUMENT: Final = frozenset({"pause", "resume", "restart"})
"""Actions whose revision has the document of the one before."""


def _names(nodes: list[str]) -> str:
    """In words; of many the first ones."""
    shown = nodes if len(nodes) <= _MOST_NAMES else [*nodes[:_MOST_NAMES], f"{len(nodes) - _MOST_NAMES} more"]
    *before, last = shown
    return f"{', '.join(before)} and {last}" if before else last


class Placement:
    """No call waits for anything, or changes anything."""

    def __init__(
        self,
        membership: Membership,
        *,
        records: Copy[Record],
        assignments: Copy[Assignment],
        readiness: Copy[Readiness],
    ) -> None:
        self._membership = membership
        self._records = records
        self._assignments = assignments
        self._readiness = readiness

    def targets(self, *, without: str | None = None, beside: Wanted | None = None) -> dict[str, str]:
        """The node that is to run each pipeline that is to run and can; as if one node took none, or as if there were
        one more pipeline, or another one in place of that with its name.
        """
        candidates = [each for each in self.candidates() if each.name != without]
        wanted = [
            self._wanted(name, candidates)
            for name, record in self._records.values.items()
            if not record.paused and self.failure(name) is None and (beside is None or name != beside.name)
        ]
        if beside is not None:
            wanted.append(beside)
        holders = {name: each.node for name, each in self._assignments.values.items() if each.node is not None}
        return assign(wanted, candidates, holders)

    def candidates(self) -> list[Candidate]:
        """The live nodes that take pipelines."""
        return [
            Candidate(each.name, each.labels, each.max_pipelines)
            for each in self._membership.live()
            if not each.draining
        ]

    def labelled(self, name: str) -> list[str]:
        """Those of them that have the labels of the pipeline."""
        wanted = Wanted(name, labels_of(self._records.values[name].document))
        return [each.name for each in self.candidates() if can_run(wanted, each)]

    def obstacle(self, name: str, document: Document) -> Problem | None:
        """Why no live node would run a pipeline with this document now; None where one would, or nobody knows."""
        wanted = Wanted(name, labels_of(document))
        unlabelled = self.unlabelled(wanted)
        if unlabelled is not None:
            return unlabelled
        record = self._records.values.get(name)
        if record is not None and record.document == document and (lacking := self.lacking(name)) is not None:
            holder = self.holder(name)
            is_held = holder is not None and self._membership.is_alive(holder.node, holder.instance)
            return None if is_held else lacking  # where it runs, it goes on with what it has
        return None if name in self.targets(beside=wanted) else self.full(wanted)

    def unlabelled(self, wanted: Wanted) -> Problem | None:
        """Where there is no live node that takes pipelines, or none with these labels."""
        candidates = self.candidates()
        if not candidates:
            return Problem(
                message="no live node takes pipelines",
                hint="start a node, or start one again that drains: ditto nodes shows all of them",
                code=_CODE,
            )
        if any(can_run(wanted, each) for each in candidates):
            return None
        labels = ", ".join(f"{name}={value}" for name, value in sorted(wanted.labels.items()))
        return Problem(
            message=f"no live node has the labels {labels} (placement.labels)",
            hint="start a node with these labels, or give the pipeline those of a live node: ditto nodes shows them",
            code=_CODE,
        )

    def full(self, wanted: Wanted) -> Problem:
        """Where there are such nodes, and none has room."""
        able = [each for each in self.candidates() if can_run(wanted, each)]
        names = ", ".join(f"{each.name} takes {each.max_pipelines}" for each in able[:_MOST_NAMES])
        more = f" and {len(able) - _MOST_NAMES} more" if len(able) > _MOST_NAMES else ""
        return Problem(
            message=f"the nodes that could run it are full (max_pipelines: {names}{more})",
            hint="start another node, or raise max_pipelines of one and restart it",
            code=_CODE,
        )

    def holder(self, name: str) -> Assignment | None:
        """Who holds its lease: a node that is alive, or was."""
        assignment = self._assignments.values.get(name)
        return None if assignment is None or assignment.node is None else assignment

    def failure(self, name: str) -> Failure | None:
        """The error that ended it for the whole fleet, where neither its record nor its attempt has changed since."""
        assignment = self._assignments.values.get(name)
        failed = None if assignment is None else assignment.failed
        return failed if failed is not None and self.is_of_now(name, failed) else None

    def refusal(self, node: str, name: str) -> Failure | None:
        """Why that node cannot run the newest revision, as far as the node has said: of one that only repeats the
        document, it has said so with the former one.
        """
        said = self._said_by(node)
        failed = None if said is None else said.refused.get(name)
        if said is None or failed is None or self.is_of_now(name, failed):
            return failed
        record = self._records.values.get(name)
        is_same_document = record is not None and record.action in _KEEP_DOCUMENT
        return failed if is_same_document and not self._covers(said.judged, name) else None

    def lacking(self, name: str) -> Problem | None:
        """What is missing on each node that could run it otherwise; None where one of them may have all."""
        nodes = self.labelled(name)
        refusals = [refusal for node in nodes if (refusal := self.refusal(node, name)) is not None]
        if not refusals or len(refusals) < len(nodes):
            return None
        by_message: dict[str, list[str]] = {}
        for each in refusals:
            by_message.setdefault(each.message, []).append(each.node)
        reasons = [f"{_names(found)}: {message}" for message, found in by_message.items()]
        able = self._unavailable(name)
        reasons += [f"{node} has it, and {why}" for node, why in able.items()]
        hint = refusals[0].hint or "put there what is missing"
        if able:
            hint = f"start {' or '.join(able)} again, or {hint}"
        return Problem(
            message=f"no live node can run it; {'; '.join(reasons)}",
            hint=f"{hint}; then it begins by itself",
            code=refusals[0].code,
        )

    def _unavailable(self, name: str) -> dict[str, str]:
        """The nodes that take nothing now, and had what the pipeline needs; why they take nothing."""
        wanted = Wanted(name, labels_of(self._records.values[name].document))
        live = {each.name for each in self._membership.live()}
        found: dict[str, str] = {}
        for each in self._membership.all():
            if each.name in live and not each.draining:
                continue
            said, holder = self._readiness.values.get(each.name), self.holder(name)
            has_looked = said is not None and said.instance == each.instance and self._covers(said.judged, name)
            is_holder = holder is not None and (holder.node, holder.instance) == (each.name, each.instance)
            is_refused = said is not None and name in said.refused
            if (has_looked or is_holder) and not is_refused and can_run(wanted, Candidate(each.name, each.labels)):
                found[each.name] = "drains" if each.name in live else "is dead"
        return found

    def _wanted(self, name: str, candidates: list[Candidate]) -> Wanted:
        wanted = Wanted(name, labels_of(self._records.values[name].document))
        holder = self.holder(name)
        home = None
        if holder is not None and self._membership.is_alive(holder.node, holder.instance):
            home = next((each.name for each in candidates if each.name == holder.node and can_run(wanted, each)), None)
        excluded = {each.name for each in candidates if self._is_excluded(each.name, name, home)}
        if home is not None and all(each.name in excluded or not can_run(wanted, each) for each in candidates):
            excluded.remove(home)  # nobody else can: it goes on there, with the revision that it has
        return Wanted(name, wanted.labels, frozenset(excluded))

    def _is_excluded(self, node: str, name: str, home: str | None) -> bool:
        if self.refusal(node, name) is not None:
            return True
        if home is None or node == home:
            return False
        return not (self._membership.is_renewed(node) and self.has_judged(node, name))

    def has_judged(self, node: str, name: str) -> bool:
        """Whether that node has looked at the newest revision of the pipeline."""
        said = self._said_by(node)
        return said is not None and self._covers(said.judged, name)

    def _covers(self, judged: int, name: str) -> bool:
        return judged >= self._records.revisions[name]

    def _said_by(self, node: str) -> Readiness | None:
        """An entry of an earlier process of that node says nothing."""
        said = self._readiness.values.get(node)
        return said if said is not None and self._membership.is_alive(node, said.instance) else None

    def is_of_now(self, name: str, failed: Failure) -> bool:
        """Whether neither the record nor its attempt has changed since."""
        record = self._records.values.get(name)
        if record is None or failed.record_at not in {"", record.at}:
            return False
        return (failed.revision, failed.attempt) == (self._records.revisions[name], record.attempt)
