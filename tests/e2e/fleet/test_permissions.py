"""NATS permissions: nodes with exactly what docs/operations.md lists for them, and a pipeline with its own list."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import nats
import pytest

import ditto
from ditto.config import NatsConnection
from ditto.config.load import load_server
from ditto.errors import SinkDenied
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.node import Node
from ditto.fleet.records import NODES
from ditto.testing.servers import NatsServer
from e2e.fleet.fleet import Fleet, document
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

    from ditto.fleet.buckets import Bucket, Entry
    from e2e.world import World

PAGE = (Path(ditto.__file__).parent.parent / "docs" / "operations.md").read_text()


def user_of(section: str) -> str:
    """The entry of the user in the configuration of that section."""
    block = PAGE.split(f"\n## {section}\n")[1].split("```")[1]
    return block.partition("users: [")[2].rpartition("]\n}")[0].strip()


def publishable(user: str) -> list[str]:
    return re.findall(r'"([^"]+)"', user.partition("publish: [")[2].partition("]")[0])


def matches(pattern: str, subject: str) -> bool:
    """As NATS has wildcards: * is one token, > the rest."""
    expression = re.escape(pattern).replace(r"\*", r"[^.]+").replace(">", ".+")
    return re.fullmatch(expression, subject) is not None


@pytest.mark.timeout(180)
async def test_two_nodes_and_a_pipeline_with_what_is_documented_and_all_of_it_is_used(
    world: World, tmp_path: Path
) -> None:
    world.sql("CREATE TABLE orders (id int PRIMARY KEY)")
    node = user_of("NATS permissions of nodes").replace("$NODE_PASSWORD", '"node-secret"')
    # The stream's name, the prefix and the subject of the table are this world's.
    pipeline = re.sub(r"\bDITTO\b", world.stream, user_of("NATS permissions")).replace("ditto.>", f"{world.name}.>")
    pipeline = (
        pipeline.replace("ditto_public_trades", f"{world.name}_public_orders")
        .replace(f"${world.stream}_PASSWORD", '"sink-secret"')
        .replace("$DITTO_PASSWORD", '"sink-secret"')
    )
    everybody = f'{node}, {pipeline}, {{ user: all, password: "all-secret" }}'
    published: set[str] = set()

    async def note(message: Msg) -> None:
        published.add(message.subject)

    with NatsServer(tmp_path / "limited", config=f"authorization {{ users: [{everybody}] }}") as server:
        fleet = Fleet(
            server.url, tmp_path, connection=NatsConnection(url=server.url, user="all", password="all-secret")
        )
        spy = await nats.connect(server.url, user="all", password="all-secret")
        try:
            await spy.subscribe(">", cb=note)
            await spy.flush()
            secrets = {"DITTO_NATS_USER": "node", "DITTO_NATS_PASSWORD": "node-secret", "SINK_PASSWORD": "sink-secret"}
            fleet.start("n1", environment=secrets)  # the test's own connection has not made the buckets
            await fleet.nodes["n1"].logged("node.live")
            async with fleet.watching():
                fleet.start("n2", environment=secrets)
                await fleet.live("n1", "n2")
                made = document(world, nats={"url": server.url, "user": "ditto", "password": "${SINK_PASSWORD}"})
                async with httpx.AsyncClient(base_url=fleet.node("n1").api_url, trust_env=False, timeout=60) as one:
                    path = "/v1/pipelines/shop"
                    created = await one.put(path, json=made, headers={"If-None-Match": "*"})
                    assert created.status_code == 201, created.text
                    await fleet.streams("shop")
                    world.sql("INSERT INTO orders VALUES (1)")
                    holder = str(fleet.pipeline("shop").node)
                    other = "n2" if holder == "n1" else "n1"
                    async with httpx.AsyncClient(
                        base_url=fleet.node(other).api_url, trust_env=False, timeout=60
                    ) as away:
                        # What needs the other node, or the history.
                        told = (await away.get(f"{path}/status")).json()
                        assert told["status"]["process"]["state"] == "streaming", told
                        assert (await away.get(f"{path}/history")).status_code == 200
                        assert (await away.post(f"/v1/nodes/{holder}/drain")).status_code == 202
                        await fleet.streams("shop", on=other)
                        tag = {"If-Match": "*"}
                        done = await away.delete(f"{path}?drop_slot=true", headers=tag)
                        assert done.json()["slot_dropped"], done.text
                await eventually(lambda: f"{world.name}_public_orders" in published, "the event is stored")
            for each in fleet.nodes.values():
                assert await each.stop() == 0
        finally:
            await spy.close()
            fleet.close()
        violations = [line for line in server.log_path.read_text().splitlines() if "Violation" in line]
        assert not violations, violations
    unused = [each for each in publishable(node) if not any(matches(each, subject) for subject in published)]
    assert not unused, "what nobody uses is not needed"


LISTED = 'under "NATS permissions of nodes"'
ADD = f"add it to the user's permissions (publish), with the wildcards that docs/operations.md lists {LISTED}"
MISSING = [
    ("$JS.API.STREAM.INFO.KV_ditto_nodes", "$JS.API.STREAM.INFO.KV_ditto_nodes", "requests to JetStream"),
    *(
        (f"$KV.ditto_{each}.>", f"$KV.ditto_{each}.n", "the control plane of the fleet")
        for each in ("pipelines", "nodes", "assignments", "readiness", "status")
    ),
    *(
        (f"$JS.API.STREAM.MSG.GET.KV_ditto_{each}",) * 2 + ("requests to JetStream",)
        for each in ("pipelines", "nodes", "assignments")
    ),
    ("ditto.node.>", "ditto.node.n", "requests from node to node"),
    # After it has written that it is there:
    ("$JS.API.CONSUMER.CREATE.KV_ditto_readiness",) * 2 + ("requests to JetStream",),
    ("allow_responses: true", "_INBOX.", "the answer to another node"),
]


async def test_a_node_ends_with_the_right_that_it_does_not_have(tmp_path: Path) -> None:
    node = user_of("NATS permissions of nodes").replace("$NODE_PASSWORD", '"node-secret"')
    users = ['{ user: all, password: "all-secret" }']
    for index, (missing, _, _) in enumerate(MISSING):
        written = missing if missing.startswith("allow") else f'"{missing}"'
        limited = re.sub(re.escape(written) + ",?", "", node, count=1)
        assert limited != node
        users.append(limited.replace("user: node", f"user: node{index}"))
    with NatsServer(tmp_path / "limited", config=f"authorization {{ users: [{', '.join(users)}] }}") as server:
        plane = ControlPlane(NatsConnection(url=server.url, user="all", password="all-secret"))
        async with plane.connected():
            for index, (missing, asked, use) in enumerate(MISSING):
                settings = {
                    "DITTO_NODE": f"n{index}",
                    "DITTO_NATS_URL": server.url,
                    "DITTO_NATS_USER": f"node{index}",
                    "DITTO_NATS_PASSWORD": "node-secret",
                    "DITTO_MAX_PIPELINES": "0",
                }
                with pytest.raises(SinkDenied) as caught:
                    await asyncio.wait_for(Node(load_server(None, settings), api_url="").run(), 20)
                assert f"user node{index} may not publish to {asked}" in caught.value.message
                assert caught.value.message.endswith(f"which is for {use}") or "allow" in missing
                give = f"give the user allow_responses: true, as docs/operations.md does {LISTED}"
                assert caught.value.hint == (give if "allow" in missing else ADD)
                assert caught.value.exit_code == 4
            assert [entry async for entry in first_of(plane.bucket(NODES))] == [], "none is a dead node"


async def first_of(bucket: Bucket) -> AsyncIterator[Entry]:
    """The entries that there are."""
    async with aclosing(bucket.watch()) as entries:
        async for entry in entries:
            if entry is None:
                return
            if entry.value is not None:
                yield entry


async def test_a_right_that_is_taken_away_cuts_a_node_off_until_it_is_given_back(tmp_path: Path) -> None:
    node = user_of("NATS permissions of nodes").replace("$NODE_PASSWORD", '"node-secret"')
    limited = node.replace('"$KV.ditto_readiness.>", ', "")
    with NatsServer(tmp_path / "limited", config=f"authorization {{ users: [{node}] }}") as server:
        fleet = Fleet(server.url, tmp_path)
        try:
            started = fleet.start("n1", environment={"DITTO_NATS_USER": "node", "DITTO_NATS_PASSWORD": "node-secret"})
            await started.logged("node.live")
            server.config = f"authorization {{ users: [{limited}] }}"
            server.restart()
            refused = 'Publish Violation - Subject "$KV.ditto_readiness.n1"'
            await eventually(lambda: server.log_path.read_text().count(refused) >= 3, "it has tried three times")
            told = [each for each in started.logs("node.cut_off") if "may not publish" in each["reason"]]
            assert len(told) == 1, "the reason is said once"
            assert "may not publish to $KV.ditto_readiness.n1" in told[0]["reason"]
            assert told[0]["hint"] == ADD
            assert len(started.logs("node.live")) == 1
            address = f"http://{started.logs('http.listening')[0]['address']}"
            async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=20) as api:
                refusal = (await api.put("/v1/pipelines/shop", json={}, headers={"If-None-Match": "*"})).json()
                assert "may not publish to $KV.ditto_readiness.n1" in refusal["detail"]
                assert refusal["hint"] == ADD
                assert "may not publish" in (await api.get("/v1/nodes")).json()["cut_off_by"]["message"]
            server.config = f"authorization {{ users: [{node}] }}"
            server.restart()
            await started.logged("node.live", count=2)
        finally:
            fleet.close()
