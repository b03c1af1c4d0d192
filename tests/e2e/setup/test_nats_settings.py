"""nats.domain, the limits of nats-server, and what a running Ditto says while it cannot connect."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from ditto.testing.process import free_port
from ditto.testing.servers import NatsServer
from e2e.operations.test_http import fetch
from e2e.process import eventually
from e2e.setup.test_permissions import commands

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World


async def test_a_stream_in_another_domain(world: World, tmp_path: Path) -> None:
    """Through a leaf node that has no JetStream: the stream and the lease are in the hub's domain."""
    port = free_port()
    hub_config = (
        f'jetstream {{ domain: hub, store_dir: "{tmp_path / "store"}" }}\nleafnodes {{ listen: "127.0.0.1:{port}" }}'
    )
    leaf_config = f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{port}" }}] }}'
    with (
        NatsServer(tmp_path / "hub", jetstream=False, config=hub_config) as hub,
        NatsServer(tmp_path / "leaf", jetstream=False, config=leaf_config) as leaf,
    ):
        world.nats_server = hub
        world.settings |= {"DITTO_NATS_URL": leaf.url, "DITTO_NATS_DOMAIN": "hub"}
        ditto = await world.streaming()
        world.sql("INSERT INTO fence SELECT FROM generate_series(1, 1000)")
        await ditto.logged("lease.bucket_created")
        await world.fence()
        for name, ended in (await commands(world)).items():
            assert ended.code == 0, (name, ended.output)
        assert await ditto.stop() == 0
        again = await world.streaming()
        assert await again.stop() == 0


async def test_a_request_that_is_larger_than_the_server_takes(world: World, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "small", config="max_payload: 4096") as server:
        world.sql(
            *(
                f"CREATE TABLE table_with_a_rather_long_name_number_{number} (id int PRIMARY KEY)"
                for number in range(100)
            )
        )
        tables = {f"table_with_a_rather_long_name_number_{number}": ["insert"] for number in range(100)}
        ditto = world.ditto(nats_url=server.url, events_tables=tables)
        assert await ditto.ended() == 4, ditto.output
        # The server may take larger requests by now: a second attempt asks before the refusal is final.
        assert [failed["kind"] for failed in ditto.logs("session.failed")] == ["RequestTooLarge"]
        assert ditto.logs("run.failed")[0]["kind"] == "RequestTooLarge"
        assert "max_payload" in ditto.sentence()


@pytest.mark.long
async def test_readyz_says_why_the_last_session_ended(nats_world: World) -> None:
    world = nats_world
    port = free_port()
    ditto = await world.streaming(http_listen=f"127.0.0.1:{port}")
    world.nats_server.pause()  # connections are taken, and nothing is answered: each attempt takes seconds
    try:
        await ditto.logged("pipeline.state", state="connecting", count=2, timeout_s=60)
        code, text = await asyncio.to_thread(fetch, port, "/readyz")
        assert code == 503
        assert "a session begins, after" in json.loads(text)["reason"] or "SinkLost" in text
        began = ditto.logs("pipeline.state", state="connecting")[1]
        assert began["reason"].startswith("a session begins, after ")
    finally:
        world.nats_server.resume()
    await ditto.streaming(count=2, timeout_s=60)
    await eventually(lambda: fetch(port, "/readyz")[0] == 200, "it is ready again")
