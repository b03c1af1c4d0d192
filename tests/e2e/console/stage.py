"""The console of a node that runs nothing: `python -m e2e.console.stage PORT PIPELINES [CERT KEY]`, made-up figures.

For looking at pages with many pipelines in every state, without as many databases.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from unit.fleet_fakes import DOCUMENT, FakeNode, FakeView, summary

from ditto.api.fleet.server import serve_fleet
from ditto.config.server import HttpTls
from ditto.console.courses import Courses
from ditto.console.mount import websockets, with_console
from ditto.fleet.records import Problem, Record
from ditto.fleet.status import PipelineSummary
from ditto.monitoring.snapshot_status import RunStatus, TableStatus
from ditto.monitoring.status_document import SnapshotSummary

_DOMAINS: Final = (
    "orders", "payments", "customers", "inventory", "shipping", "billing", "catalog", "search", "sessions", "audit",
    "reviews", "pricing", "tax", "refunds", "loyalty", "carts", "stores", "suppliers", "staff", "ledger",
)  # fmt: skip
_LONG: Final = "a-rather-long-name-of-a-pipeline-for-the-ledger-of-payments"
_STATES: Final = {
    3: "failed",
    19: "failed",
    11: "waiting",
    12: "paused",
    30: "paused",
    33: "unassigned",
    41: "connecting",
    44: "changing",
}
_SINKS: Final = ("nats", "nats", "kafka", "redis", "webhook", "file")
_GONE: Final = Problem(
    message="the slot is gone: PostgreSQL has removed WAL that it needed (max_slot_wal_keep_size)",
    hint="create it anew with ditto slot create, then resume the pipeline; the events in between are missing",
    code=3,
)
_SILENT: Final = Problem(
    message="PostgreSQL at db-3.internal:5432 does not answer: connection refused",
    hint="look at the server; Ditto tries again",
    code=3,
)
_NOWHERE: Final = Problem(
    message="no live node has the labels zone=c (placement.labels)",
    hint="start a node with these labels, or give the pipeline those of a live node: ditto nodes shows them",
    code=5,
)
_HOUR_S: Final = 3600


class StageView(FakeView):
    """Figures that go up and down with the time."""

    now_s: float | None = None
    """In place of the clock's."""

    def now(self) -> float:
        return time.time() if self.now_s is None else self.now_s

    def pipelines(self) -> list[PipelineSummary]:
        found = [self._figures(index, name) for index, name in enumerate(self._store.revisions)]
        return sorted(found, key=lambda each: each.name)

    def pipeline(self, name: str) -> PipelineSummary:
        super().pipeline(name)
        return next(each for each in self.pipelines() if each.name == name)

    def _figures(self, index: int, name: str) -> PipelineSummary:
        stored = self._store.revisions[name][-1]
        state = "paused" if stored.record.paused else _STATES.get(index, "streaming")
        phase, streams = (index * 37 % 100) / 100, state == "streaming"
        now = self.now()
        wave = 1 + 0.5 * math.sin(now / 300 + 7 * phase) + 0.2 * math.sin(now / 41 + index)
        running = stored.revision if streams else None
        made: dict[str, Any] = {
            "state": state,
            "reason": _NOWHERE.message if state == "unassigned" else "",
            "node": None if state == "unassigned" else f"n{index % 3 + 1}",
            "error": {"failed": _GONE, "waiting": _SILENT, "unassigned": _NOWHERE}.get(state),
            "running_revision": running,
            "lag_s": (312.0 if index == 9 else 0.02 + 0.4 * phase * wave) if streams else None,
            "events": int(3_000_000 * phase),
            "events_per_s": 3000 * phase * wave if streams else None,
            "retained_bytes": int(4e9 * phase * (0.8 + 0.1 * wave)),
            "safe_bytes": int(4e9 * (1 - phase)) if index % 4 else None,
            "sink": _SINKS[index % len(_SINKS)],
        }
        if index == 5:
            made["snapshots"] = [
                SnapshotSummary("k3x9", "request", "reading", 4, 1, 120_000, 300_000, "public.orders", 22_000.0, None)
            ]
        return summary(name, revision=stored.revision, **made)


async def _fill(node: FakeNode, count: int) -> None:
    later = {**DOCUMENT, "events": {"tables": {"public.*": {}}}, "delivery": {"max_in_flight": 500}}
    for index in range(count):
        name = (
            _LONG if index == 7 else f"{_DOMAINS[index % 20]}-{('eu', 'us', 'ap')[index // 20 % 3]}{index // 60 or ''}"
        )
        stored = await node.store.put(name, Record(document=DOCUMENT, by="anna", at=_ago(7200)), after=None)
        await node.store.put(name, Record(document=later, by="ci", at=_ago(900)), after=stored.revision)
    tables = [
        TableStatus(schema="public", table="orders", state="done", rows=120_000, estimated_rows=119_000),
        TableStatus(
            schema="public",
            table="order_lines",
            state="reading",
            rows=800_000,
            estimated_rows=2_100_000,
            rows_per_s=21_000.0,
        ),
        TableStatus(schema="public", table="customers", state="queued", estimated_rows=40_000),
    ]
    done = msgspec.structs.replace(tables[0])
    node.requests.runs["orders-eu"] = [
        RunStatus(run="c4p1", kind="initial", state="done", requested_at=_ago(7200), tables=[done]),
        RunStatus(run="k3x9", kind="request", state="reading", requested_at=_ago(60), tables=tables),
    ]
    more = {"api_url": "http://n2:7480", "pipelines": 17, "version": "1", "started": _ago(90_000)}
    first = msgspec.structs.replace(node.view.nodes_found[0], pipelines=17, started=_ago(9000))
    node.view.nodes_found = [
        first,
        msgspec.structs.replace(first, name="n2", labels={"zone": "b", "disk": "fast"}, **more),
        msgspec.structs.replace(first, name="n3", state="draining", labels={}, **more),
        msgspec.structs.replace(first, name="n4", state="dead", labels={"zone": "a"}, **more),
    ]
    node.view.unplaced = ["audit-eu", "orders-eu", _LONG]


def _ago(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, UTC).isoformat(timespec="seconds")


def _look_back(view: StageView, courses: Courses) -> None:
    """The last hour, all at once."""
    now = time.time()
    for back_s in range(_HOUR_S, 0, -10):
        view.now_s = now - back_s
        courses.look()
    view.now_s = None


async def main(port: int, count: int, cert: str | None = None, key: str | None = None) -> None:
    node = FakeNode({"DITTO_HTTP_TLS_CERT": cert, "DITTO_HTTP_TLS_KEY": key} if cert and key else {})
    node.view = StageView(node.store)
    await _fill(node, count)
    courses = Courses(node.view, now=node.view.now)
    _look_back(node.view, courses)
    async with (
        with_console(node, courses=courses) as pages,
        serve_fleet(pages, f"127.0.0.1:{port}", HttpTls(cert=cert, key=key), websockets=websockets()),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
