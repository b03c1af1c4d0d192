"""A node lacks what a pipeline refers to: a variable, a file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from ditto.fleet.assignment import Candidate, Wanted, assign
from e2e.fleet.fleet import Fleet, document
from e2e.ledger import Ledger, matches_ledger
from e2e.process import POLL_S

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World


def name_for(node: str, *nodes: str) -> str:
    """Of a pipeline that ranks this node first."""
    candidates = [Candidate(each) for each in nodes]
    names = (f"shop{number}" for number in range(100))
    return next(each for each in names if assign([Wanted(each)], candidates)[each] == node)


async def says(api: httpx.AsyncClient, name: str, reason: str) -> None:
    """Wait until that node has found out, too."""
    async with asyncio.timeout(20):
        while True:
            if (await api.get(f"/v1/pipelines/{name}/status")).json()["summary"]["reason"] == reason:
                return
            await asyncio.sleep(POLL_S)


@pytest.mark.long
async def test_a_pipeline_stays_where_it_can_run_and_goes_on_when_such_a_node_is_back(
    fleet: Fleet, world: World
) -> None:
    name = name_for("n2", "n1", "n2")
    made = document(world, postgres={"dsn": "${SHOP_DSN}"})
    has_it = {"SHOP_DSN": world.dsn}
    async with fleet.watching():
        home = fleet.start("n1", environment=has_it)
        await fleet.live("n1")
        await fleet.apply(name, made)
        await fleet.streams(name, on="n1")
        with Ledger(world) as ledger:
            await ledger.goes_on(10)
            other = fleet.start("n2")
            await fleet.live("n1", "n2")
            refused = await other.logged("pipeline.refused", pipeline=name)
            assert "SHOP_DSN, which is not set" in refused["reason"]
            await fleet.until(lambda: "n2" in fleet.view.readiness.values, "n2 has said so")
            await ledger.goes_on(20)
            assert (fleet.pipeline(name).state, fleet.pipeline(name).node) == ("streaming", "n1")
            assert not home.logs("pipeline.freed")
            assert not other.logs("pipeline.taken")
            home.kill_node()
            nowhere = await fleet.is_in(name, "unassigned")
            assert (nowhere.node, nowhere.error and nowhere.error.code) == (None, 2)
            assert "no live node can run it; n2: " in nowhere.reason
            assert "SHOP_DSN, which is not set; n1 has it, and is dead" in nowhere.reason
            assert nowhere.error is not None
            assert str(nowhere.error.hint).startswith("start n1 again, or set SHOP_DSN")
            async with httpx.AsyncClient(base_url=fleet.node("n2").api_url, trust_env=False, timeout=60) as api:
                await says(api, name, nowhere.reason)
                for verb, is_change in (("resume", False), ("restart", True)):
                    done = (await api.post(f"/v1/pipelines/{name}/{verb}")).json()
                    assert done["changed"] == is_change
                    assert done["unassigned"]["message"] == nowhere.reason
            fleet.start("n1", environment=has_it)
            await fleet.streams(name, on="n1")
            await ledger.goes_on(10)
        await matches_ledger(world)


@pytest.mark.long
async def test_a_pipeline_moves_when_the_file_is_there_and_takes_no_revision_that_no_node_can(
    fleet: Fleet, world: World, tmp_path: Path
) -> None:
    name, secret = name_for("n1", "n1", "n2"), tmp_path / "dsn"
    async with fleet.watching():
        fleet.start("n1")
        fleet.start("n2", environment={"SHOP_DSN": world.dsn})
        await fleet.live("n1", "n2")
        await fleet.apply(name, document(world, postgres={"dsn": f"file:{secret}"}))
        nowhere = await fleet.is_in(name, "unassigned")
        assert "no live node can run it; n1 and n2: postgres.dsn refers to the file" in nowhere.reason
        secret.write_text(world.dsn)
        await fleet.streams(name)
        with Ledger(world) as ledger:
            await fleet.apply(name, document(world, postgres={"dsn": "${SHOP_DSN}"}))
            await fleet.streams(name, on="n2")
            await ledger.goes_on(10)
            await fleet.apply(name, document(world, postgres={"dsn": "${NOBODY_HAS_IT}"}))
            await fleet.until(lambda: fleet.pipeline(name).error is not None, "the revision is refused")
            shown = fleet.pipeline(name)
            assert (shown.state, shown.node) == ("streaming", "n2")
            assert shown.error is not None
            assert f"revision {shown.revision} is refused: no live node can run it" in shown.error.message
            await ledger.goes_on(10)
            await fleet.apply(name, document(world))
            await fleet.streams(name, on="n1")
            await ledger.goes_on(10)
        await matches_ledger(world)


@pytest.mark.long
async def test_a_file_that_was_away_when_the_pipeline_began_again_is_looked_for(
    fleet: Fleet, world: World, tmp_path: Path
) -> None:
    secret, elsewhere = tmp_path / "dsn", tmp_path / "elsewhere"
    secret.write_text(world.dsn)
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        await fleet.apply("shop", document(world, postgres={"dsn": f"file:{secret}"}))
        await fleet.streams("shop")
        with Ledger(world) as ledger:
            await ledger.goes_on(10)
            secret.rename(elsewhere)
            for worker in node.processes()[1:]:
                worker.kill()
            nowhere = await fleet.is_in("shop", "unassigned")
            assert "a node looks again every 10 s" in str(nowhere.error)
            elsewhere.rename(secret)
            await fleet.streams("shop")
            await ledger.goes_on(10)
        await matches_ledger(world)
