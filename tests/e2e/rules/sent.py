"""The messages of a stream, with their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from e2e.world import World


class Sent(NamedTuple):
    """A message."""

    subject: str
    headers: dict[str, str]
    """Without those of Ditto's and nats-server's own, but for the key."""
    payload: bytes


async def sent(world: World) -> list[Sent]:
    """Every event but the fences, once all that is committed now has arrived."""
    numbers = [event.sequence for event in await world.events()]
    found = []
    async with world.jetstream() as jetstream:
        for number in numbers:
            message = await jetstream.get_msg(world.stream, number)
            given: dict[str, Any] = dict(message.headers or {})
            headers = {
                name: value
                for name, value in given.items()
                if name == "Ditto-Key" or not name.startswith(("Nats-", "Ditto-"))
            }
            found.append(Sent(message.subject or "", headers, message.data or b""))
    return found
