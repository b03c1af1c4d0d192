"""A bucket of the control plane is deleted while nodes run pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nats
import pytest

from ditto.fleet.records import ASSIGNMENTS, NODES, READINESS, STATUS
from e2e.fleet.fleet import Fleet, document
from e2e.ledger import Ledger, matches_ledger

if TYPE_CHECKING:
    from ditto.testing.servers import NatsServer
    from e2e.conftest import OpenWorld


@pytest.mark.long
async def test_every_other_bucket_is_written_again_and_pipelines_go_on(
    fleet: Fleet, control_plane: NatsServer, open_world: OpenWorld
) -> None:
    worlds = {f"p{number}": open_world("") for number in range(4)}
    async with fleet.watching():
        for name in ("n1", "n2"):
            fleet.start(name)
        await fleet.live("n1", "n2")
        for name, world in worlds.items():
            await fleet.apply(name, document(world))
        for name in worlds:
            await fleet.streams(name)
        homes = {name: fleet.pipeline(name).node for name in worlds}
        assert set(homes.values()) == {"n1", "n2"}
        client = await nats.connect(control_plane.url)
        try:
            with Ledger(worlds["p0"]) as first, Ledger(worlds["p1"]) as second:
                for bucket in (ASSIGNMENTS, STATUS, NODES, READINESS):
                    await first.goes_on(10)
                    await client.jetstream().delete_key_value(bucket)
                    await fleet.until(lambda: not fleet.view.is_current, f"the test itself misses {bucket}")
                    await fleet.until(
                        lambda: (
                            fleet.view.is_current
                            and {each.name for each in fleet.view.nodes() if each.state == "live"} == {"n1", "n2"}
                            and {name: fleet.pipeline(name).node for name in worlds} == homes
                            and all(fleet.pipeline(name).state == "streaming" for name in worlds)
                            and set(fleet.view.readiness.values) == {"n1", "n2"}
                        ),
                        lambda bucket=bucket: f"all is as before {bucket} was deleted: {fleet.view.pipelines()}",  # type: ignore[misc]
                    )
                    await second.goes_on(10)
            for name in ("p0", "p1"):
                await matches_ledger(worlds[name])
            for node in fleet.nodes.values():
                assert not node.logs("pipeline.freed")
                assert not node.logs("node.crashed")
        finally:
            await client.close()
