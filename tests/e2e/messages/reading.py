"""The messages of a stream as a consumer gets them, with their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nats.js.api import DeliverPolicy

from ditto.lsn import Position

if TYPE_CHECKING:
    from e2e.world import World


class Message(NamedTuple):
    """As a consumer gets it."""

    subject: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_event(self) -> bool:
        return "Ditto-Id" not in self.headers

    @property
    def position(self) -> Position:
        return Position.parse(self.headers["Ditto-Position"])


async def everything(world: World) -> list[Message]:
    """All messages of the stream, once what is committed now has arrived; without checkpoints and fences."""
    await world.fence()
    found = []
    async with world.jetstream() as jetstream:
        last = (await jetstream.stream_info(world.stream)).state.last_seq
        subscription = await jetstream.subscribe(
            ">", stream=world.stream, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL
        )
        sequence = 0
        while sequence < last:
            message = await subscription.next_msg(timeout=20)
            sequence = message.metadata.sequence.stream
            if message.subject not in {world.fence_subject, f"{world.name}._checkpoint"}:
                found.append(Message(message.subject, dict(message.headers or {}), message.data))
    positions = [message.position for message in found]
    assert positions == sorted(set(positions)), "positions increase strictly"
    return found
