"""Documents of thousands of tables: the node is heard of while it checks them, and other pipelines go on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from e2e.fleet.fleet import Fleet, document
from e2e.ledger import Ledger, matches_ledger

if TYPE_CHECKING:
    from e2e.conftest import OpenWorld

pytestmark = pytest.mark.long

TABLES = 7_000
LONGEST_S = 2.5
"""Between two heartbeats, one of which comes every second; after 4 s a node counts as dead."""


async def longest_pause(fleet: Fleet, done: asyncio.Event) -> float:
    """Between two heartbeats of n1, until `done`."""
    longest, beat, heard_at = 0.0, 0, time.monotonic()
    while not done.is_set():
        await asyncio.sleep(0.02)
        entry = fleet.view.nodes_copy.values["n1"]
        if entry.beat != beat:
            beat, heard_at = entry.beat, time.monotonic()
        longest = max(longest, time.monotonic() - heard_at)
    return longest


async def test_heartbeats_come_while_large_documents_are_applied_and_taken_back(
    fleet: Fleet, open_world: OpenWorld
) -> None:
    other, large = open_world(""), open_world("")
    tables: dict[str, Any] = {f"public.table_number_{number}": ["insert", "update"] for number in range(TABLES)}
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        for name, world in (("other", other), ("large", large)):
            await fleet.apply(name, document(world))
            await fleet.streams(name)
        first = fleet.pipeline("large").revision
        address = fleet.view.nodes_copy.values["n1"].api_url
        done = asyncio.Event()
        watching = asyncio.create_task(longest_pause(fleet, done))
        with Ledger(other) as ledger:
            await ledger.goes_on(10)
            async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                for changed in range(3):
                    made = document(large, events={"tables": {**tables, f"public.another_{changed}": ["insert"]}})
                    revision = fleet.view.records.revisions["large"]
                    answer = await client.put("/v1/pipelines/large", json=made, headers={"If-Match": f'"{revision}"'})
                    assert answer.status_code == 200, answer.text
                    after = answer.json()["revision"]
                    await fleet.until(lambda after=after: fleet.view.records.revisions["large"] == after, "it is seen")  # type: ignore[misc]
                answer = await client.post(
                    "/v1/pipelines/large/rollback", json={"revision": first}, headers={"If-Match": f'"{after}"'}
                )
                assert answer.status_code == 200, answer.text
            await fleet.streams("large", timeout_s=60)
            await ledger.goes_on(10)
        done.set()
        assert await watching < LONGEST_S
        assert len(node.logs("pipeline.streaming", pipeline="other")) == 1
        await matches_ledger(other)
