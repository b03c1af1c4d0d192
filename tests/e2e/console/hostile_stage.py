"""The console of a node where every text that others decide is an attack on the page: `… hostile_stage PORT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import msgspec
from unit.fleet_fakes import DOCUMENT, FakeNode, summary

from ditto.api.fleet.server import serve_fleet
from ditto.config.server import HttpTls
from ditto.console.mount import websockets, with_console
from ditto.fleet.records import Problem, Record
from ditto.monitoring.snapshot_status import RunStatus, TableStatus
from ditto.monitoring.status_document import SnapshotSummary

ATTACK: Final = (
    "'\"><img src=/stolen onerror=window.attacked=1><script>window.attacked=2</script></title></textarea>"
    "{{ $el.ownerDocument.defaultView.attacked = 3 }}"
)
"""Leaves an attribute or an element, and runs as a script, as a handler, or as a template of Vue."""


async def _fill(node: FakeNode) -> None:
    tables: dict[str, Any] = {"events": {"tables": {f'public."{ATTACK}"': {}}}}
    first = await node.store.put("shop", Record(document=DOCUMENT, by=ATTACK, at=ATTACK), after=None)
    later = await node.store.put("shop", Record(document={**DOCUMENT, **tables}, by=ATTACK, at=ATTACK), after=1)
    assert first.revision != later.revision
    node.view.summaries["shop"] = summary(
        "shop",
        revision=later.revision,
        running_revision=first.revision,
        node=ATTACK,
        state=ATTACK,
        reason=ATTACK,
        error=Problem(message=ATTACK, hint=ATTACK, code=3),
        sink=ATTACK,
        labels={"a": ATTACK},
        updated=ATTACK,
        snapshots=[SnapshotSummary(ATTACK, "request", "reading", 1, 0, 1, 2, ATTACK, None, ATTACK)],
    )
    table = TableStatus(schema=ATTACK, table=ATTACK, reason=ATTACK, hint=ATTACK, waits_for=ATTACK)
    node.requests.runs["shop"] = [
        RunStatus(
            run=ATTACK, kind="request", requested_at=ATTACK, reason=ATTACK, hint=ATTACK, where=ATTACK, tables=[table]
        )
    ]
    node.view.nodes_found = [
        msgspec.structs.replace(
            node.view.nodes_found[0],
            name=name,
            state=state,
            api_url="javascript:window.attacked=4//",
            labels={ATTACK: ATTACK},
            version=ATTACK,
            started=ATTACK,
        )
        for name, state in ((ATTACK, "live"), (f"n2{ATTACK}", ATTACK), ("plain", "live"))
    ]
    node.view.unplaced = [ATTACK]


async def main(port: int) -> None:
    node = FakeNode()
    await _fill(node)
    async with (
        with_console(node) as pages,
        serve_fleet(pages, f"127.0.0.1:{port}", HttpTls(), websockets=websockets()),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
