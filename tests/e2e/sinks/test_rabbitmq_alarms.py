"""RabbitMQ's alarms for disk and memory: Ditto waits, and says so; nothing is lost."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.testing.rabbitmq_server import RabbitMQServer
    from e2e.process import DittoProcess
    from e2e.sinks.rabbitmq_world import ExchangeWorld, RabbitMQWorld

ALARMS: Final = {
    "disk": (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "1MB")),
    "memory": (("set_vm_memory_high_watermark", "0.000001"), ("set_vm_memory_high_watermark", "0.6")),
}
"""What sets each alarm off, and what ends it."""


@contextmanager
def alarm(server: RabbitMQServer, kind: str) -> Iterator[None]:
    """It is on meanwhile."""
    begin, end = ALARMS[kind]
    server.tool(*begin)
    try:
        yield
    finally:
        server.tool(*end)


async def is_refused(ditto: DittoProcess) -> None:
    """The next session is, and says why."""
    failure = await ditto.logged("session.failed", kind="NotNow", timeout_s=40)
    assert "blocks publishers: its alarm for disk space is on" in failure["error"]
    assert "disk_free_limit" in failure["hint"]


async def is_blocked(ditto: DittoProcess) -> None:
    """The session is, and goes on."""
    blocked = await ditto.logged("sink.blocked", timeout_s=40)
    assert "blocks publishers: its alarm for memory or disk space is on" in blocked["error"]
    assert "rabbitmq-diagnostics alarms" in blocked["hint"]
    state = await ditto.logged("pipeline.state", state="waiting")
    assert "blocks publishers" in state["reason"]


async def test_the_disk_alarm_and_a_stream(rabbitmq_world: RabbitMQWorld) -> None:
    """The session that is blocked ends, and the next ones are refused: neither leaves anything behind."""
    world = rabbitmq_world
    ditto = await world.streaming(rabbitmq_ack_timeout="2s")
    with Ledger(world, seed=13, pause_s=0.05) as ledger:
        await ledger.goes_on(20)
        with alarm(world.server, "disk"):
            await ledger.goes_on(40)
            await is_refused(ditto)
        await ditto.streaming(count=2, timeout_s=60)
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["disk", "memory"])
async def test_an_alarm_and_an_exchange(exchange_world: ExchangeWorld, kind: str) -> None:
    """The session waits for longer than an answer may take; no message comes twice for it."""
    world = exchange_world
    ditto = await world.streaming(rabbitmq_ack_timeout="2s")
    with Ledger(world, seed=15, pause_s=0.05) as ledger:
        await ledger.goes_on(20)
        with alarm(world.server, kind):
            began_at = time.monotonic()
            await is_blocked(ditto)
            rss_bytes = ditto.rss_bytes
            await eventually(lambda: time.monotonic() - began_at > 10, "longer than an answer may take")
            await ledger.goes_on(200)
            assert ditto.rss_bytes - rss_bytes < 60 << 20
            assert ditto.logs("session.failed") == []
        await eventually(lambda: ditto.logs("pipeline.state")[-1]["state"] == "streaming", "it goes on")
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert world.copies == 0
    assert ditto.logs("session.failed") == []
    assert await ditto.stop() == 0


@pytest.mark.long
async def test_the_memory_alarm_does_not_hold_up_a_stream(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    ditto = await world.streaming()
    with Ledger(world, seed=17) as ledger, alarm(world.server, "memory"):
        assert "Memory alarm" in world.server.tool("alarms", program="rabbitmq-diagnostics")
        await ledger.goes_on(50)
    await matches_ledger(world)
    assert ditto.logs("session.failed") == []
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_stop_during_an_alarm(rabbitmq_world: RabbitMQWorld, exchange_world: ExchangeWorld) -> None:
    """In a session that is blocked, and between two that are refused; what was not stored comes at the next start."""
    for world, seed in ((rabbitmq_world, 19), (exchange_world, 21)):
        ditto = await world.streaming(rabbitmq_ack_timeout="120s")
        with Ledger(world, seed=seed, pause_s=0.2) as ledger:
            await ledger.goes_on(20)
            with alarm(world.server, "disk"):
                await ledger.goes_on(40)
                ditto.send(signal.SIGTERM)
                assert await ditto.ended(timeout_s=15) == 0
                assert ditto.logs("pipeline.drain_blocked")
                ditto = world.ditto()
                await (is_refused if world is rabbitmq_world else is_blocked)(ditto)
                ditto.send(signal.SIGINT)
                assert await ditto.ended(timeout_s=45) == 0
            ditto = await world.streaming()
            await ledger.goes_on(20)
        await matches_ledger(world)
        assert await ditto.stop() == 0
