"""NATS permissions: nodes with exactly what docs/operations.md lists for them, and a pipeline with its own list."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import nats
import pytest

import ditto
from ditto.config import NatsConnection
from ditto.fleet.records import NODES
from ditto.testing.servers import NatsServer
from e2e.fleet.fleet import Fleet, document
from e2e.process import eventually

if TYPE_CHECKING:
    from nats.aio.msg import Msg

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


@pytest.mark.parametrize(
    ("missing", "asked", "use"),
    [
        ("$JS.API.STREAM.INFO.KV_ditto_nodes", "$JS.API.STREAM.INFO.KV_ditto_nodes", "requests to JetStream"),
        ("$KV.ditto_nodes.>", "$KV.ditto_nodes.n1", "the control plane of the fleet"),
        (  # after it has written that it is there
            "$JS.API.CONSUMER.CREATE.KV_ditto_readiness",
            "$JS.API.CONSUMER.CREATE.KV_ditto_readiness",
            "requests to JetStream",
        ),
    ],
)
async def test_a_node_ends_with_the_subject_that_it_may_not_use(
    tmp_path: Path, missing: str, asked: str, use: str
) -> None:
    node = user_of("NATS permissions of nodes").replace("$NODE_PASSWORD", '"node-secret"')
    assert f'"{missing}", ' in node
    limited = node.replace(f'"{missing}", ', "")
    users = f'{limited}, {{ user: all, password: "all-secret" }}'
    with NatsServer(tmp_path / "limited", config=f"authorization {{ users: [{users}] }}") as server:
        own = NatsConnection(url=server.url, user="all", password="all-secret")
        fleet = Fleet(server.url, tmp_path, connection=own)
        try:
            ended = fleet.start("n1", environment={"DITTO_NATS_USER": "node", "DITTO_NATS_PASSWORD": "node-secret"})
            assert await ended.ended() == 4, ended.output
            assert f"the NATS user may not publish to {asked}, which is for {use}" in ended.output
            assert 'docs/operations.md lists under "NATS permissions of nodes"' in ended.output.replace("\\", "")
            async with fleet.control_plane.connected():
                assert await fleet.control_plane.bucket(NODES).get("n1") is None, "it is no dead node"
        finally:
            fleet.close()


async def test_a_node_that_may_not_answer_is_cut_off_with_the_right_that_is_missing(tmp_path: Path) -> None:
    node = user_of("NATS permissions of nodes").replace("$NODE_PASSWORD", '"node-secret"')
    assert "allow_responses: true" in node
    limited = node.replace("allow_responses: true", "")
    everybody = f'{limited}, {{ user: all, password: "all-secret" }}'
    with NatsServer(tmp_path / "limited", config=f"authorization {{ users: [{everybody}] }}") as server:
        fleet = Fleet(server.url, tmp_path)
        other = await nats.connect(server.url, user="all", password="all-secret")
        try:
            started = fleet.start("n1", environment={"DITTO_NATS_USER": "node", "DITTO_NATS_PASSWORD": "node-secret"})
            await started.logged("node.live")
            await other.publish("ditto.node.n1.status", b'{"op": "status", "pipeline": "shop"}', reply="_INBOX.other.1")
            await other.flush()
            told = await started.logged("node.cut_off")
            assert "may not publish to _INBOX.other.1, which is the answer to another node" in told["reason"]
            assert told["hint"].startswith("give the user allow_responses: true, as docs/operations.md does under")
        finally:
            await other.close()
            fleet.close()
