"""The server deletes messages as time goes by, the last one included: Ditto knows where it was all the same."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from nats.js.errors import NotFoundError

from ditto.formats.checkpoint import decode_checkpoint

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World

AGE_S = 1.5


async def make_stream(world: World, **settings: Any) -> None:
    subjects = [f"{world.name}._checkpoint", f"{world.name}_public_t", world.fence_subject]
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=subjects, max_age=AGE_S)
        if settings:
            config = (await jetstream.stream_info(world.stream)).config.as_dict() | settings
            reply = await jetstream._nc.request(f"$JS.API.STREAM.UPDATE.{world.stream}", json.dumps(config).encode())
            assert settings.items() <= json.loads(reply.data)["config"].items()


async def stored(world: World, row: int) -> None:
    """Insert it, and wait until it is stored: a message may be gone before it could be read."""
    last = (await world.info()).state.last_seq
    world.sql(f"INSERT INTO t VALUES ({row})")
    await world.holds(last + 1)


async def has_expired(world: World, *, is_marked: bool) -> None:
    """Until no event is left, and its delete marker has come where there is one."""
    async with asyncio.timeout(20):
        while True:
            state = (await world.info()).state
            if not state.messages or (is_marked and await _ends_with_marker(world, state.last_seq)):
                return
            await asyncio.sleep(0.05)


async def _ends_with_marker(world: World, sequence: int) -> bool:
    async with world.jetstream() as jetstream:
        try:
            message = await jetstream.get_msg(world.stream, sequence)
        except NotFoundError:
            return False
        return "Nats-Marker-Reason" in (message.headers or {})


def goes_on(ditto: DittoProcess) -> None:
    assert not ditto.logs("stream.gap_accepted")
    assert not ditto.logs("stream.foreign_message"), "the server's own messages are no other writer's"
    assert {entry["kind"] for entry in ditto.logs("session.failed")} <= {"ChainBroken"}


@pytest.mark.parametrize("has_markers", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("is_killed", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_idle_for_longer_than_the_age(world: World, has_markers: bool, is_killed: bool) -> None:
    """Running, stopped in between, and killed in between."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    more = {"allow_msg_ttl": True, "subject_delete_marker_ttl": 60 * 10**9, "allow_rollup_hdrs": True}
    await make_stream(world, **(more if has_markers else {}))
    ditto = await world.streaming()
    risks = [entry["reason"] for entry in ditto.logs("stream.risk")]
    assert any("max_age" in reason for reason in risks)
    assert any("subject_delete_marker_ttl" in reason for reason in risks) is has_markers
    for row in (1, 2):
        await stored(world, row)
        await has_expired(world, is_marked=has_markers)
    goes_on(ditto)
    await stored(world, 3)
    if is_killed:
        ditto.kill()
    else:
        assert await ditto.stop() == 0
    await has_expired(world, is_marked=has_markers)
    ditto = await world.streaming()
    await stored(world, 4)
    goes_on(ditto)
    tail = await world.tail() if not has_markers else None
    assert tail is None or world.confirmed_lsn <= tail.commit_lsn
    assert await ditto.stop() == 0


async def test_the_slot_never_passes_what_is_noted(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    await make_stream(world)
    ditto = await world.streaming()
    for row in range(12):
        await stored(world, row)
        confirmed = world.confirmed_lsn
        noted = ((await world.info()).config.metadata or {}).get("ditto.place")
        if noted is not None:
            assert confirmed <= decode_checkpoint(noted).checkpoint.lsn
    assert await ditto.stop() == 0
