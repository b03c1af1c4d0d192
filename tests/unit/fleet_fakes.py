"""A node of a fleet without a control plane: stands in for Ditto's own protocol, never for a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from ditto.api.fleet.app import make_app
from ditto.api.fleet.auth import digest
from ditto.config.load import load_server
from ditto.errors import DittoError, NotPossibleNow, NotRunning, PipelineUnknown, RevisionConflict, SnapshotUnknown
from ditto.fleet.document import check, check_name
from ditto.fleet.records import Action, Problem, Record, Stored
from ditto.fleet.status import NodeSummary, PipelineSummary
from ditto.monitoring.snapshot_changes import why_not
from ditto.monitoring.snapshot_status import RunStatus
from ditto.monitoring.status_document import Snapshots
from ditto.source.snapshot_requests import Verb

ROLES = ("read", "operate", "admin")
TOKENS = {role: f"ditto_the-token-of-{role}" for role in ROLES}
DOCUMENT: dict[str, Any] = {
    "postgres": {"dsn": "postgres://127.0.0.1:9/shop", "slot": "shop"},
    "nats": {"url": "nats://127.0.0.1:9", "stream": "SHOP"},
}


class FakeStore:
    """As `PipelineStore`, in memory. `fault` is raised by every call."""

    def __init__(self) -> None:
        self.revisions: dict[str, list[Stored]] = {}
        self.fault: DittoError | None = None
        self._last = 0

    async def get(self, name: str) -> Stored | None:
        check_name(name)
        self._check()
        found = self.revisions.get(name)
        return found[-1] if found else None

    async def find(self, name: str) -> Stored | None:
        return await self.get(name)

    async def put(self, name: str, record: Record, *, after: int | None) -> Stored:
        check(name, record.document)
        before = await self.get(name)
        if (None if before is None else before.revision) != after:
            raise RevisionConflict(f"pipeline {name} has been changed by somebody else", hint="read it again")
        self._last += 1
        stored = Stored(name, self._last, record)
        self.revisions.setdefault(name, []).append(stored)
        return stored

    async def change(
        self, stored: Stored, action: Action, *, by: str, paused: bool | None = None, again: bool = False
    ) -> Stored:
        before = stored.record
        record = msgspec.structs.replace(
            before,
            paused=before.paused if paused is None else paused,
            attempt=before.attempt + again,
            by=by,
            action=action,
            at="2026-01-02T03:04:05Z",
        )
        return await self.put(stored.name, record, after=stored.revision)

    async def delete(self, name: str, *, after: int) -> None:
        found = await self.get(name)
        if found is None or found.revision != after:
            raise RevisionConflict(f"pipeline {name} has been changed by somebody else", hint="read it again")
        del self.revisions[name]

    async def history(self, name: str) -> list[Stored]:
        self._check()
        if name not in self.revisions:
            raise PipelineUnknown(f"there is no pipeline {name}")
        first, *others = self.revisions[name]
        return [msgspec.structs.replace(first, is_first=True), *others]

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault


class FakeView:
    """As `ClusterView`: what is in the store, none of it running; `summaries` says more about some."""

    is_current = True

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.summaries: dict[str, PipelineSummary] = {}
        self.unplaced: list[str] = []
        self.obstacles: dict[str, Problem] = {}
        self.nodes_found = [
            NodeSummary(
                name="n1",
                state="live",
                api_url="http://n1:7480",
                labels={"zone": "a"},
                pipelines=0,
                max_pipelines=100,
                version="1",
                started="2026-01-02T03:04:05Z",
                workers=1,
            )
        ]

    def names(self) -> list[str]:
        return sorted(self._store.revisions)

    def pipelines(self) -> list[PipelineSummary]:
        return [self.pipeline(name) for name in self.names()]

    def pipeline(self, name: str) -> PipelineSummary:
        if name not in self._store.revisions:
            raise PipelineUnknown(f"there is no pipeline {name}", hint="ditto pipelines list shows all names")
        record = self._store.revisions[name][-1]
        return self.summaries.get(name) or summary(name, revision=record.revision, paused=record.record.paused)

    def stored(self, name: str) -> Stored:
        return self._store.revisions[name][-1]

    def nodes(self) -> list[NodeSummary]:
        return self.nodes_found

    def unplaced_without(self, node: str) -> list[str]:
        return self.unplaced

    def obstacle(self, name: str, _document: object) -> Problem | None:
        return self.obstacles.get(name)

    def changes(self) -> AsyncIterator[None]:
        raise NotImplementedError


class FakeRequests:
    """As `Requests`: no pipeline runs, unless `runs` says what snapshots it has."""

    def __init__(self) -> None:
        self.runs: dict[str, list[RunStatus]] = {}
        self.asked: list[tuple[str, ...]] = []

    async def status(self, pipeline: str) -> Any:
        raise NotRunning(f"pipeline {pipeline} does not run: it is failed (the slot is gone)")

    async def snapshots(self, pipeline: str) -> Snapshots:
        if pipeline not in self.runs:
            raise NotRunning(f"pipeline {pipeline} does not run: it is unassigned")
        return Snapshots(pipeline=pipeline, state="streaming", runs=self.runs[pipeline])

    async def start_snapshot(self, pipeline: str, tables: Any = (), **_: Any) -> str:
        await self.snapshots(pipeline)
        self.asked.append(("start", pipeline, *tables))
        return "run1"

    async def change_snapshot(self, pipeline: str, verb: Verb, run: str) -> str:
        if (objection := why_not(await self.snapshots(pipeline), verb, run)) is not None:
            raise (SnapshotUnknown if objection.is_unknown else NotPossibleNow)(objection.what)
        self.asked.append((verb, pipeline, run))
        return run

    async def drain(self, node: str) -> None:
        self.asked.append(("drain", node))


class FakeNode:
    """As `FleetNode`. `settings` are environment variables of the server's configuration."""

    name = "n1"
    state = "live"
    reason = ""
    is_ready = True
    cut_off_by: Problem | None = None

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        tokens = [{"name": role, "role": role, "sha256": digest(token)} for role, token in TOKENS.items()]
        environ = {"DITTO_AUTH_TOKENS": msgspec.json.encode(tokens).decode(), **(settings or {})}
        self.config = load_server(None, environ)
        self.store: Any = FakeStore()
        self.view: Any = FakeView(self.store)
        self.requests: Any = FakeRequests()
        self.app: Any = make_app(self)

    async def catch_up(self) -> None:
        """The view is the store."""

    async def metrics(self) -> bytes:
        return b'ditto_leader{pipeline="shop"} 1\n'

    def fill(self, *names: str, **record: Any) -> None:
        """Store pipelines."""
        for name in names:
            record = {"document": DOCUMENT, "by": "setup", "at": "2026-01-01T00:00:00Z", **record}
            asyncio.run(self.store.put(name, Record(**record), after=None))


def summary(name: str, *, revision: int = 1, paused: bool = False, **more: Any) -> PipelineSummary:
    """One that does not run."""
    fields: dict[str, Any] = {
        "name": name,
        "node": None,
        "worker": None,
        "state": "paused" if paused else "unassigned",
        "reason": "" if paused else "no node is there",
        "error": None if paused or more.get("state") else Problem(message="no node is there", hint="start one", code=5),
        "revision": revision,
        "running_revision": None,
        **more,
    }
    return PipelineSummary(**fields)


def failed(name: str, revision: int) -> PipelineSummary:
    """One whose error cannot be retried."""
    error = Problem(message="the slot is gone", hint="create it", code=3)
    return summary(name, revision=revision, state="failed", error=error)


@asynccontextmanager
async def client_of(
    node: FakeNode, role: str | None = "admin", *, address: str = "10.1.2.3", host: str = "n1:7480"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that asks the application of the node, without a socket."""
    headers = {} if role is None else {"Authorization": f"Bearer {TOKENS.get(role, role)}"}
    transport = httpx.ASGITransport(node.app, client=(address, 40000), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers) as client:
        yield client


def eventually(is_so: Any, what: str, *, timeout_s: float = 20) -> None:
    """Poll until it is."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
