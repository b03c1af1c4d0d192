"""Subscribers that answer events: their answers are no acknowledgements."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats

from ditto.testing.process import free_port
from e2e.operations.test_http import fetch
from e2e.process import eventually

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from e2e.world import World

ANSWERS = (
    b"+ACK",
    b"",
    b'"ok"',
    b"[]",
    b"5",
    b"{}",
    b"\xff",
    b'{"error":"no"}',
    b'{"type":"ack"}',
    b'{"status":"done"}',
)


@asynccontextmanager
async def answering(url: str, subject: str) -> AsyncIterator[list[str]]:
    """Somebody who subscribes to the subject and replies to every message with each of these answers."""
    client = await nats.connect(url, allow_reconnect=False)
    answered: list[str] = []

    async def reply(message: Msg) -> None:
        if message.reply:
            answered.append(message.subject)
            for answer in ANSWERS:
                await client.publish(message.reply, answer)

    await client.subscribe(subject, cb=reply)
    await client.flush()
    try:
        yield answered
    finally:
        await client.close()


def counted(port: int, metric: str) -> float:
    (count,) = re.findall(rf"^{metric}{{.*}} (\S+)$", fetch(port, "/metrics")[1], re.MULTILINE)
    return float(count)


async def test_answers_are_counted_warned_of_once_and_ignored(nats_world: World) -> None:
    world = nats_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    port = free_port()
    async with answering(world.nats_server.url, ">") as answered:
        ditto = await world.streaming(http_listen=f"127.0.0.1:{port}", delivery_lease_ttl="1500ms")
        for start in range(0, 1000, 100):
            world.sql(f"INSERT INTO t SELECT generate_series({start}, {start + 99})")
        for number in range(2000, 2050):
            world.sql(f"INSERT INTO t VALUES ({number})")
        # The test's own client would take these answers for the server's: what is stored is read later.
        await eventually(lambda: counted(port, "ditto_messages_stored_total") >= 1050, "all is stored")
        await eventually(
            lambda: any("$KV.ditto_leases" in subject for subject in answered), "the lease is answered too"
        )
        assert not ditto.logs("session.failed")
        assert not ditto.logs("lease.unavailable")
        assert len(ditto.logs("events.answered")) == 1
        await eventually(
            lambda: counted(port, "ditto_foreign_answers_total") >= 50 * len(ANSWERS), "the answers are counted"
        )
    assert [event.change[2] for event in await world.events()] == [*range(1000), *range(2000, 2050)]
    assert await ditto.stop() == 0
    await world.matches_tables(event_count=1050)
