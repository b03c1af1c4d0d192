"""From a configuration to a connection on which commands can be sent: the node, and whether it can be used."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ditto.config import Redis
from ditto.errors import RedisUnsuitable, SinkError
from ditto.sinks.redis.server import address_of, connect, find_node
from ditto.sinks.redis.server_facts import Facts, look_at_server
from ditto.sinks.redis.stored_state import Keys
from ditto.sinks.redis.wire import Wire

_REDIRECTIONS: Final = 3


async def open_wire(
    config: Redis, keys: Keys, *, clock: Callable[[], float], on_failure: Callable[[SinkError], object]
) -> Wire:
    """To the server, or to the node that has the keys. Raises SinkError and ConfigError."""
    address = address_of(config)
    connection = await connect(config, address)
    for _ in range(_REDIRECTIONS):
        try:
            found = await find_node(connection, address, keys.state)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if found == address:
            break
        await connection.disconnect(nowait=True)
        address = found
        connection = await connect(config, address)
    return Wire(connection, where=str(address), timeout_s=config.ack_timeout_s, clock=clock, on_failure=on_failure)


async def usable_server(config: Redis, wire: Wire) -> Facts:
    """What the server says of itself. Raises RedisUnsuitable where events cannot be kept there."""
    facts = await look_at_server(wire)
    facts.check_usable(wire.where)
    if facts.is_cluster and not has_hash_tag(config):
        raise RedisUnsuitable(
            f"{wire.where} is a node of a cluster, and redis.key_prefix is {config.key_prefix!r}: the keys would be in "
            "several slots, and nothing could be stored in one step",
            hint='put a hash tag into it, such as redis.key_prefix: "{shop}:"',
        )
    return facts


def has_hash_tag(config: Redis) -> bool:
    """All keys are in one slot of a cluster."""
    return re.match(r"[^{]*\{[^}]+\}", config.key_prefix) is not None
