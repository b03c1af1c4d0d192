"""What applying documents would do: every one is checked by a node before the first one is applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec import Struct

from ditto.api.fleet.documents import Applied, Checked, Deleted, Listing, PipelineDocument
from ditto.api_client.client import FleetClient, path_of
from ditto.api_client.files import DocumentFile
from ditto.errors import DittoError, PipelineUnknown, PipelineUnreadable
from ditto.fleet.shared_slots import shared_slot

_AT_ONCE: Final = 8
"""Documents that are looked at at the same time: each takes two requests, and a node may be far away, or busy."""


class Step(Struct, frozen=True, kw_only=True):
    """What becomes of one pipeline."""

    name: str
    before: PipelineDocument | None
    """None where it is new, or cannot be read."""
    after: dict[str, Any] | None
    """None where it is deleted."""
    applied: Applied | None = None
    """What the node said about it; None where it is deleted."""
    is_unreadable: bool = False
    """Its entry in the control plane cannot be read, and is replaced or deleted."""

    @property
    def is_change(self) -> bool:
        """Whether anything is stored."""
        return self.before is None or self.after is None or self.before.document != self.after


class Plan(Struct, kw_only=True):
    """All of them, and what is wrong with the others."""

    steps: list[Step] = []
    faults: list[DittoError] = []

    @property
    def changes(self) -> list[Step]:
        """Those that store something."""
        return [each for each in self.steps if each.is_change]


def make_plan(client: FleetClient, files: Sequence[DocumentFile], *, prunes: bool, checks: bool) -> Plan:
    """Let a node check every document, and change nothing. With `checks` the node looks at the servers, too.

    With `prunes` every other pipeline of the fleet is to be deleted. Raises what concerns no single document: NoServer,
    TokenRefused, RoleMissing.
    """
    plan = Plan()
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for each, looking in [(each, pool.submit(_look, client, each, checks=checks)) for each in files]:
            try:
                step, findings = looking.result()
            except DittoError as error:
                if type(error).__name__ not in _ABOUT_ONE:
                    raise
                plan.faults.append(type(error)(f"{each.file}: {error.message}", hint=error.hint))
            else:
                plan.steps.append(step)
                plan.faults += findings
    finally:
        pool.shutdown(cancel_futures=True)
    plan.steps = _with_shared_slots(plan.steps)
    if prunes:
        names = {each.name for each in files}
        for summary in client.get("/v1/pipelines", Listing).pipelines:
            if summary.name not in names:
                before, is_unreadable = _before(client, summary.name)
                if before is not None or is_unreadable:
                    plan.steps.append(Step(name=summary.name, before=before, after=None, is_unreadable=is_unreadable))
    return plan


def _with_shared_slots(steps: list[Step]) -> list[Step]:
    """The node has looked at each with what it has: of two that are both new it cannot know."""
    new = [(each.name, each.after) for each in steps if each.before is None and each.after is not None]
    found = []
    for step in steps:
        if step.applied is not None and step.after is not None:
            others = [(name, document) for name, document in new if name != step.name]
            notes = [each for each in shared_slot(step.after, others, {}) if each not in step.applied.notes]
            applied = msgspec.structs.replace(step.applied, notes=step.applied.notes + notes)
            step = msgspec.structs.replace(step, applied=applied)  # noqa: PLW2901  the same one, with more to say
        found.append(step)
    return found


_ABOUT_ONE = frozenset({"ConfigError", "MissingHere", "PipelineRefused", "RuleUnfit", "RuleError"})


def _look(client: FleetClient, file: DocumentFile, *, checks: bool) -> tuple[Step, list[DittoError]]:
    return _step(client, file), list(_findings(client, file)) if checks else []


def _step(client: FleetClient, file: DocumentFile) -> Step:
    before, is_unreadable = _before(client, file.name)
    applied = client.ask("PUT", path_of(file.name), Applied, body=file.document, params={"dry_run": True})
    return Step(name=file.name, before=before, after=file.document, applied=applied, is_unreadable=is_unreadable)


def _before(client: FleetClient, name: str) -> tuple[PipelineDocument | None, bool]:
    """As it is kept, and whether something is kept that cannot be read."""
    try:
        return read_pipeline(client, name), False
    except PipelineUnreadable:
        return None, True


def _findings(client: FleetClient, file: DocumentFile) -> Iterator[DittoError]:
    checked = client.ask("POST", path_of(file.name, "validate"), Checked, body=file.document)
    for finding in checked.findings:
        if finding.level == "error":
            yield DittoError(f"{file.file}: {finding.check}: {finding.what}", hint=finding.fix or finding.why)


def read_pipeline(client: FleetClient, name: str, *, revision: int | None = None) -> PipelineDocument | None:
    """As it is kept; None where there is none."""
    params = {} if revision is None else {"revision": revision}
    with suppress(PipelineUnknown):
        return client.get(path_of(name), PipelineDocument, params=params)
    return None


def carry_out(client: FleetClient, step: Step) -> Applied | Deleted:
    """Only if nobody has changed the pipeline since the plan was made. Raises RevisionConflict."""
    revision = None if step.before is None else step.before.revision
    if step.after is None:
        return client.ask("DELETE", path_of(step.name), Deleted, revision="*" if step.is_unreadable else revision)
    if step.is_unreadable and step.applied is not None:
        revision = step.applied.revision
    return client.ask("PUT", path_of(step.name), Applied, body=step.after, revision=revision, is_new=revision is None)
