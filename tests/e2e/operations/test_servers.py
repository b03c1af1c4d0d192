"""Looking at both servers again and again, as `ditto status --watch` and a running Ditto do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.config import load
from ditto.monitoring.servers import Surveyor

if TYPE_CHECKING:
    from e2e.world import World


async def test_a_look_leaves_nothing_behind(world: World) -> None:
    await world.streaming()
    surveyor = Surveyor(load(None, {}, world.settings))
    try:
        assert (await surveyor.look()).problems == []
        client = surveyor._client
        assert client is not None
        subscriptions = len(client._subs)
        for _ in range(5):
            found = await surveyor.look()
        assert found.leader is not None
        assert surveyor._client is client
        assert len(client._subs) == subscriptions
    finally:
        await surveyor.close()
