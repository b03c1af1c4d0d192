"""A signal while nothing is on its way: Ditto ends at once, and what was not stored comes at the next start."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from ditto.testing.webhook_receiver import Answer
from e2e.process import eventually

if TYPE_CHECKING:
    from ditto.testing.webhook_receiver import Receiver
    from e2e.process import DittoProcess
    from e2e.sinks.webhook_world import WebhookWorld

ACK_TIMEOUTS: Final = {
    "kafka": "kafka_ack_timeout",
    "redis": "redis_ack_timeout",
    "rabbitmq": "rabbitmq_ack_timeout",
    "exchange": "rabbitmq_ack_timeout",
}
AT_ONCE_S: Final = 5.0
"""Seconds that a busy machine may take; a back-off and a drain last up to 15 and 30 s."""


@pytest.fixture
def own_world(request: pytest.FixtureRequest, sink: str) -> Any:
    """With a server of its own, to be killed."""
    return request.getfixturevalue(f"own_{sink}_world")


async def ends_at_once(ditto: DittoProcess) -> None:
    began_at = time.monotonic()
    ditto.send(signal.SIGTERM)
    assert await ditto.ended(timeout_s=60) == 0
    took_s = time.monotonic() - began_at
    print(f"it took {took_s:.2f} s")
    assert took_s < AT_ONCE_S, ditto.output


@pytest.mark.parametrize(
    "answer",
    [pytest.param(Answer(500), marks=pytest.mark.long), Answer(429, headers={"Retry-After": "60"})],
    ids=["500", "Retry-After"],
)
async def test_a_webhook_that_is_tried_again(webhook_world: WebhookWorld, receiver: Receiver, answer: Answer) -> None:
    world = webhook_world
    ditto = await world.streaming(webhook_retry_for="600s")
    await world.fence()
    receiver.usual = answer
    world.sql("INSERT INTO fence DEFAULT VALUES")
    await eventually(lambda: any(each["retry_in_s"] > 1 for each in ditto.logs("webhook.retrying")), "it waits")
    await ends_at_once(ditto)
    assert f" answered {answer.status} " in ditto.logs("pipeline.drain_blocked")[0]["error"]
    assert not ditto.logs("pipeline.drained"), "not everything was stored"
    receiver.usual = Answer()
    ditto = await world.streaming()
    await world.fence()
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize("sink", ["kafka", "redis", "rabbitmq", "exchange"])
async def test_a_server_that_is_away(own_world: Any, sink: str) -> None:
    """It was killed while events were on their way; and before Ditto began."""
    world = own_world
    server = world.kafka if sink == "kafka" else world.server
    ditto = await world.streaming(**{ACK_TIMEOUTS[sink]: "60s"})
    await world.fence()
    server.kill()
    world.sql("INSERT INTO fence DEFAULT VALUES")
    if sink == "kafka":  # librdkafka goes on by itself, until the transaction is over
        await asyncio.sleep(1)
    else:
        await ditto.logged("session.failed")
    await ends_at_once(ditto)
    ditto = world.ditto()
    await ditto.logged("session.failed")
    await ends_at_once(ditto)
    await asyncio.to_thread(server.start)
    ditto = await world.streaming()
    await world.catches_up()
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize("sink", ["kafka", "redis", "rabbitmq", "exchange"])
async def test_a_server_that_is_frozen_when_ditto_begins(own_world: Any, sink: str) -> None:
    """Nothing has been sent that an answer could be waited for."""
    world = own_world
    server = world.kafka if sink == "kafka" else world.server
    server.pause()
    ditto = world.ditto()
    await ditto.logged("pipeline.state", state="connecting")
    await asyncio.sleep(1)  # the state says nothing of how far that is
    await ends_at_once(ditto)
    server.resume()
