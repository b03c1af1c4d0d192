"""Events that do not fit, and messages that are not Ditto's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2e.world import World


async def test_an_event_that_is_too_large(nats_world: World) -> None:
    world = nats_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, body text)")
    ditto = await world.streaming()
    world.transaction(
        "INSERT INTO t VALUES (1, 'x'), (2, 'x')",
        "INSERT INTO t VALUES (3, repeat('confidential', 200000))",
        "INSERT INTO t VALUES (4, 'x')",
    )
    assert await ditto.ended() == 4
    sentence = ditto.sentence()
    assert "public.t" in sentence
    assert "INSERT" in sentence
    assert "2400" in sentence, "the size"
    assert "column body" in sentence
    assert "confidential" not in ditto.output
    messages = await world.messages()
    assert [message.change[2] for message in messages if message.subject == f"{world.name}_public_t"] == [1, 2]
    assert str(messages[-1].position._replace(ordinal=3)) in sentence
    assert await world.ditto().ended() == 4, "and again, without storing anything"
    assert await world.messages() == messages
    world.nats_server.config = "max_payload: 4MB"
    world.nats_server.restart()
    await world.streaming()
    assert [event.change[2] for event in await world.events()] == [1, 2, 3, 4]
    await world.matches_tables(event_count=4)


@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize("transactions", ["true", "false"])
async def test_what_comes_before_an_event_that_is_too_large_is_stored(
    world: World, impl: str, transactions: str
) -> None:
    """Also where all of it is decoded together."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, list text[])")
    world.settings |= {"DITTO_IMPL": impl, "DITTO_EVENTS_TRANSACTIONS": transactions}
    ditto = await world.streaming()
    world.transaction(
        "INSERT INTO t SELECT n, '{a}' FROM generate_series(1, 100) AS n",
        "INSERT INTO t SELECT 0, array_agg('confidential \"' || n) FROM generate_series(1, 100000) AS n",
        "INSERT INTO t SELECT n, '{a}' FROM generate_series(101, 200) AS n",
    )
    assert await ditto.ended() == 4
    sentence = ditto.sentence()
    assert "the INSERT at" in sentence
    assert "public.t" in sentence
    assert "column list" in sentence
    assert "at least" in sentence
    assert "confidential" not in ditto.output
    messages = await world.messages()
    stored = [message for message in messages if message.subject == f"{world.name}_public_t"]
    assert [message.change[2] for message in stored] == list(range(1, 101))
    assert not any(b'"last":true' in message.payload for message in stored)
    assert str(stored[-1].position._replace(ordinal=101)) in sentence


async def test_an_event_as_large_as_the_server_takes(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, body text)")
    await world.streaming()
    world.sql(*(f"INSERT INTO t VALUES ({n}, repeat('x', 1000000 + {n}))" for n in range(20)))
    await world.fence()
    await world.matches_tables(event_count=20)


async def test_a_message_of_somebody_else(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    async with world.jetstream() as jetstream:
        await jetstream.publish(f"{world.name}_public_t", b"not an event")
    world.sql("INSERT INTO t VALUES (2)")
    assert (await ditto.logged("session.failed"))["kind"] == "ChainBroken"
    await ditto.streaming(count=2)
    assert ditto.logs("stream.foreign_message")
    await world.fence()
    async with world.jetstream() as jetstream:
        last = (await jetstream.stream_info(world.stream)).state.last_seq
        bodies = [(await jetstream.get_msg(world.stream, sequence)).data for sequence in range(1, last + 1)]
    rows = [body for body in bodies if body and b'"table":"t"' in body]
    assert [b'"id":1' in rows[0], b'"id":2' in rows[1], len(rows)] == [True, True, 2]
    # The same when it finds the message at its start.
    assert await ditto.stop() == 0
    async with world.jetstream() as jetstream:
        await jetstream.publish(f"{world.name}_public_t", b"not an event")
    ditto = await world.streaming()
    assert ditto.logs("stream.foreign_message")
    world.sql("INSERT INTO t VALUES (3)")
    await world.fence()
    assert not ditto.logs("session.failed")
