"""Looking at both servers again and again, as `ditto status --watch` and a running Ditto do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.config import load
from ditto.monitoring.server_status import ServerStatusReader

if TYPE_CHECKING:
    from e2e.world import World


async def test_a_look_leaves_nothing_behind(world: World) -> None:
    await world.streaming()
    reader = ServerStatusReader(load(None, {}, world.settings))
    try:
        assert (await reader.read()).problems == []
        stream = reader._stream
        assert stream is not None
        client = stream._client
        assert client is not None
        subscriptions = len(client._subs)
        for _ in range(5):
            found = await reader.read()
        assert found.leader is not None
        assert stream._client is client
        assert len(client._subs) == subscriptions
    finally:
        await reader.close()
