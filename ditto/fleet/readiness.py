"""What this node can run: it looks at each document before the pipeline is begun, changed or moved here.

The look takes no server's time: variables, files and packages (`requirements`). What is missing here is said in
`ditto_readiness`, so that the pipeline goes to another node, or stays where it runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from ditto.errors import MissingHere
from ditto.fleet.buckets import Bucket
from ditto.fleet.local import failure_of
from ditto.fleet.records import Failure, Readiness, Stored
from ditto.fleet.requests import Fault, fault_of
from ditto.fleet.requirements import check_requirements
from ditto.fleet.view import View

log = structlog.get_logger()

_AGAIN_S: Final = 10.0
"""How often what was missing is looked for again: a file may have been put there."""
_AT_ONCE: Final = 16
_MOST_FAILURES: Final = 3
"""What was missing may be back before the next look, which then finds nothing: the pipeline is tried again. After so
many failures the look does not see what is missing, and the pipeline is tried again after a change.
"""


class _Verdict(Struct, frozen=True):
    revision: int
    failure: Failure | None = None
    failures: int = 0
    """How often the pipeline has failed here although the look found nothing that is missing."""


class Judge:
    """Of one run of a node's process."""

    def __init__(self, view: View, *, node: str, instance: str, has_news: Callable[[], None]) -> None:
        """`has_news` is called when a pipeline was accepted or refused."""
        self._view = view
        self._node = node
        self._instance = instance
        self._has_news = has_news
        self._verdicts: dict[str, _Verdict] = {}
        self._failed: set[str] = set()
        """Pipelines that have failed here, to be looked at: what is missing now may be there later."""
        self._judged = 0
        self._looked_at: dict[str, int] = {}
        self._wake = asyncio.Event()

    def accepts(self, name: str) -> bool:
        """Whether the newest revision can run here; False until that is known."""
        verdict = self._verdicts.get(name)
        is_of_now = verdict is not None and verdict.revision == self._view.records.revisions.get(name)
        return is_of_now and verdict is not None and verdict.failure is None

    def forget(self) -> None:
        """The bucket of the pipelines is another one: its revisions say nothing about what was looked at before."""
        self._verdicts, self._looked_at, self._judged = {}, {}, 0

    def refuse(self, stored: Stored, fault: Fault) -> None:
        """It has failed here for a reason that another node may not have."""
        failure = failure_of(stored, fault, node=self._node)
        before = self._verdicts.get(stored.name)
        failures = before.failures if before is not None and before.revision == stored.revision else 0
        self._verdicts[stored.name] = _Verdict(stored.revision, failure, failures + 1)
        self._failed.add(stored.name)
        self._tell(failure, stored.name)
        self._wake.set()

    async def announce(self, bucket: Bucket) -> None:
        """Write what was found so far. Raises ControlPlaneLost."""
        await bucket.put(self._node, msgspec.json.encode(self._entry()))

    async def run(self, bucket: Bucket) -> None:
        """Look, and write what was found, until cancelled. Raises ControlPlaneLost."""
        written: Readiness | None = None
        revision = 0
        watching = asyncio.create_task(self._follow())
        loop = asyncio.get_running_loop()
        looks_again_at = loop.time() + _AGAIN_S
        try:
            while True:
                if self._view.is_current:
                    is_again = loop.time() >= looks_again_at
                    if is_again:
                        looks_again_at = loop.time() + _AGAIN_S
                    await self._look(is_again=is_again)
                    entry = self._entry()
                    if entry != written or self._view.readiness.revisions.get(self._node) != revision:
                        revision = await bucket.put(self._node, msgspec.json.encode(entry))
                        self._view.readiness.written(self._node, entry, revision)
                        self._view.touch()
                        written = entry
                with suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_S):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            watching.cancel()

    async def _follow(self) -> None:
        async for _ in self._view.changes():
            self._wake.set()

    async def _look(self, *, is_again: bool) -> None:
        """At each document that is new; `is_again`: and at those that were refused."""
        if not is_again and not self._failed and self._view.records.revisions == self._looked_at:
            return
        revisions = dict(self._view.records.revisions)
        names = sorted(self._view.records.values)
        self._verdicts = {name: each for name, each in self._verdicts.items() if name in self._view.records.values}
        due = [name for name in names if self._is_due(name, revisions[name], is_again=is_again)]
        self._failed.difference_update(due)
        for first in range(0, len(due), _AT_ONCE):
            some = [
                self._view.stored(name) for name in due[first : first + _AT_ONCE] if name in self._view.records.values
            ]
            # Large documents take seconds, and the node has to be heard of meanwhile.
            found = await asyncio.to_thread(_missing, some)
            for stored, fault in zip(some, found, strict=True):
                self._note(stored, fault, is_again=is_again)
            self._has_news()
        self._judged = max((revisions[name] for name in names), default=0)
        self._looked_at = revisions

    def _is_due(self, name: str, revision: int, *, is_again: bool) -> bool:
        verdict = self._verdicts.get(name)
        if verdict is None or verdict.revision != revision or name in self._failed:
            return True
        return is_again and verdict.failure is not None and verdict.failures < _MOST_FAILURES

    def _note(self, stored: Stored, fault: Fault | None, *, is_again: bool) -> None:
        before = self._verdicts.get(stored.name)
        if before is not None and before.revision != stored.revision:
            before = None
        failures = 0 if before is None or fault is not None else before.failures
        if before is not None and before.failure is not None and failures:
            if not is_again or failures >= _MOST_FAILURES:
                return
            log.info("pipeline.tried_again", pipeline=stored.name, reason="what was missing may be there now")
        failure = None if fault is None else failure_of(stored, fault, node=self._node)
        if before is not None and before.failure and failure:
            failure = msgspec.structs.replace(failure, at=before.failure.at)
        elif failure is not None:
            self._tell(failure, stored.name)
        self._verdicts[stored.name] = _Verdict(stored.revision, failure, failures)

    def _entry(self) -> Readiness:
        refused = {name: each.failure for name, each in self._verdicts.items() if each.failure is not None}
        return Readiness(instance=self._instance, judged=self._judged, refused=refused)

    @staticmethod
    def _tell(failure: Failure, name: str) -> None:
        log.warning("pipeline.refused", pipeline=name, kind=failure.kind, reason=failure.message, hint=failure.hint)


def _missing(pipelines: list[Stored]) -> list[Fault | None]:
    """What each of them needs and is not here."""
    found: list[Fault | None] = []
    for each in pipelines:
        try:
            check_requirements(each.name, each.record.document, os.environ)
        except MissingHere as error:
            found.append(fault_of(error))
        else:
            found.append(None)
    return found
