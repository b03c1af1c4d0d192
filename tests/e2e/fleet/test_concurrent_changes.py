"""Several clients that change one pipeline at the same time, through different nodes; a pipeline that is renamed."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ditto.tasks import end
from e2e.fleet.fleet import Fleet, document

if TYPE_CHECKING:
    from e2e.world import World

PATH = "/v1/pipelines/shop"
CHANGES = 5
"""That each client makes."""


def client(fleet: Fleet, name: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=fleet.node(name).api_url, trust_env=False, timeout=60)


async def count_up(asked: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Read, add one, write, as often as it takes; the problem documents of the changes that came too late."""
    late: list[dict[str, Any]] = []
    for _ in range(CHANGES):
        while True:
            found = await asked.get(PATH)
            if found.status_code == 404:
                return late
            made = found.json()["document"]
            made["delivery"]["max_in_flight"] += 1
            answer = await asked.put(PATH, json=made, headers={"If-Match": found.headers["ETag"]})
            if answer.status_code == 200:
                break
            assert answer.status_code == 412, answer.text
            late.append(answer.json())
    return late


async def test_no_change_of_several_clients_is_lost(fleet: Fleet, world: World) -> None:
    made = document(world, delivery={"max_in_flight": 100})
    async with fleet.watching():
        for name in ("n1", "n2"):
            fleet.start(name)
        await fleet.live("n1", "n2")
        await fleet.apply("shop", made, paused=True)
        async with client(fleet, "n1") as one, client(fleet, "n2") as two:
            late = [each for found in await asyncio.gather(count_up(one), count_up(two)) for each in found]
            kept = (await one.get(PATH)).json()
            assert kept["document"]["delivery"]["max_in_flight"] == 100 + 2 * CHANGES
            revisions = (await two.get(f"{PATH}/history")).json()["revisions"]
            assert revisions[0]["revision"] == kept["revision"]
            assert len(revisions) == 1 + 2 * CHANGES
            for problem in late:
                assert problem["type"] == "urn:ditto:error:RevisionConflict"
                assert "shop" in problem["detail"]
                assert "send the change with the new revision" in problem["hint"]

            # Deleted by one while the other one changes it: one of both, and never a pipeline that is half there.
            changing = asyncio.create_task(count_up(two))
            while True:
                newest = (await one.get(PATH)).headers["ETag"]
                gone = await one.delete(PATH, headers={"If-Match": newest})
                if gone.status_code == 200:
                    break
                assert gone.status_code == 412, gone.text
            await end(changing)
            changed = await two.put(PATH, json=made, headers={"If-Match": newest})
            assert changed.status_code == 412, changed.text
            assert "for a new one send If-None-Match: *" in changed.json()["hint"]
            for each in (one, two):
                assert (await each.get(PATH)).status_code == 404
                assert (await each.get("/v1/pipelines")).json()["pipelines"] == []
            again = await two.put(PATH, json=made, headers={"If-None-Match": "*"})
            assert again.status_code == 201, again.text
            (first,) = (await one.get(f"{PATH}/history")).json()["revisions"][:1]
            assert first["change"] == {"effect": "start", "keys": []}, "it says nothing about the one before"


@pytest.mark.long
async def test_a_pipeline_gets_another_name_under_load(fleet: Fleet, world: World) -> None:
    """Deleted, and applied under another name with the same slot and stream: every row once."""
    world.sql("CREATE TABLE orders (id int PRIMARY KEY)")
    inserted = 0

    async def insert() -> None:
        nonlocal inserted
        while True:
            await asyncio.to_thread(world.sql, f"INSERT INTO orders VALUES ({inserted + 1})")
            inserted += 1

    async with fleet.watching():
        for name in ("n1", "n2"):
            fleet.start(name)
        await fleet.live("n1", "n2")
        async with client(fleet, "n1") as one, client(fleet, "n2") as two:
            names = ("shop", "orders", "shop")
            created = await one.put(PATH, json=document(world), headers={"If-None-Match": "*"})
            assert created.status_code == 201, created.text
            await fleet.streams("shop")
            inserting = asyncio.create_task(insert())
            try:
                for former, name in itertools.pairwise(names):
                    gone = await one.delete(f"/v1/pipelines/{former}", headers={"If-Match": "*"})
                    assert gone.status_code == 200, gone.text
                    made = await two.put(f"/v1/pipelines/{name}", json=document(world), headers={"If-None-Match": "*"})
                    assert made.status_code == 201, made.text
                    await fleet.streams(name)
            finally:
                await end(inserting)
            stored = [each.change[2] for each in await world.events() if each.change[0] == "orders"]
            assert stored[:inserted] == list(range(1, inserted + 1))
            assert len(stored) in {inserted, inserted + 1}, "the last one may have been on its way"
