"""The alert rules of a fleet in a real Prometheus that scrapes real nodes, and the runbooks' lines that end them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from ditto.testing.process import free_port
from e2e.fleet.conftest import control_plane, fleet
from e2e.fleet.fleet import document
from e2e.fleet.test_cli import Commands
from e2e.operations.test_alerts import prometheus

if TYPE_CHECKING:
    from pathlib import Path

    from ditto.testing.servers import NatsServer
    from e2e.fleet.fleet import Fleet
    from e2e.world import World

__all__ = ["control_plane", "fleet"]
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not shutil.which("prometheus"), reason="there is no prometheus here: Debian has it in the package prometheus"
    ),
]


async def test_each_situation_and_its_way_out(
    fleet: Fleet, control_plane: NatsServer, nats_world: World, tmp_path: Path
) -> None:
    ports = free_port(), free_port()

    def start(name: str, port: int, **more: str) -> None:
        fleet.start(name, environment={"DITTO_HTTP_LISTEN": f"127.0.0.1:{port}", **more})

    for name, port in zip(("n1", "n2"), ports, strict=True):
        start(name, port)
    ditto = Commands(f"http://127.0.0.1:{ports[0]}")
    file = tmp_path / "shop.yaml"
    async with fleet.watching():
        await fleet.live("n1", "n2")
        file.write_text(yaml.safe_dump(document(nats_world)))
        await ditto("pipelines", "apply", "--yes", "-f", str(file))
        await fleet.streams("shop")
        with prometheus(tmp_path, *ports) as watching:
            await watching.scrapes(1)

            # It cannot go on: the status has the reason, and a change ends it.
            broken = document(nats_world, postgres={"publication": "there_is_none", "create": False})
            file.write_text(yaml.safe_dump(broken))
            await ditto("pipelines", "apply", "--yes", "-f", str(file))
            await watching.fires("DittoPipelineFailed")
            assert "failed" in await ditto("pipelines", "status", code=1)
            assert "there_is_none" in await ditto("pipelines", "status", "shop", code=1)
            await ditto("pipelines", "rollback", "--yes", "shop")
            await fleet.streams("shop")
            await watching.calms("DittoPipelineFailed")

            # Its sink is away: it waits, and goes on by itself.
            nats_world.nats_server.stop()
            await watching.fires("DittoPipelineNotStreaming")
            assert "waiting" in await ditto("pipelines", "status", "shop")
            nats_world.nats_server.start()
            await watching.calms("DittoPipelineNotStreaming")

            # No node has the labels: the status says so, and a node that has them is all that is needed.
            await fleet.apply("shop", document(nats_world, placement={"labels": {"zone": "b"}}))
            await watching.fires("DittoPipelineUnassigned")
            said = await ditto("pipelines", "status", "shop", code=1)
            assert "no live node has the labels zone=b (placement.labels)" in said
            start("n3", free_port(), DITTO_LABELS='{"zone": "b"}')
            await fleet.streams("shop", on="n3")
            await watching.calms("DittoPipelineUnassigned")

            # A node is gone, and is started again.
            fleet.nodes["n2"].kill()
            await watching.fires("DittoNodeDead")
            assert "dead" in await ditto("nodes")
            start("n2", ports[1])
            await fleet.live("n1", "n2", "n3")
            await watching.calms("DittoNodeDead")

            control_plane.stop()
            await watching.fires("DittoNodeCutOff")
            assert fleet.nodes["n1"].logs("node.cut_off")[-1]["reason"]
            control_plane.start()
            await watching.calms("DittoNodeCutOff")
            assert watching.firing() <= {"DittoSessionsFail", "DittoRestarts"}
