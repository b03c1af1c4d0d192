"""From a configuration to a connection on which commands can be sent: the node, and whether it can be used."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from redis import exceptions

from ditto.config import Redis
from ditto.errors import RedisUnsuitable, SinkError
from ditto.sinks.redis.access import Access, access_of
from ditto.sinks.redis.server import Address, address_of, connect
from ditto.sinks.redis.server_errors import answered, code_of, unreachable
from ditto.sinks.redis.server_facts import Facts, look_at_server
from ditto.sinks.redis.stored_state import Keys
from ditto.sinks.redis.wire import Wire

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_REDIRECTIONS: Final = 3


async def open_wire(
    config: Redis,
    keys: Keys,
    *,
    clock: Callable[[], float],
    on_failure: Callable[[SinkError], object],
    reads_only: bool = False,
) -> Wire:
    """To the server, or to the node that has the keys. Raises SinkError and ConfigError."""
    address, access = address_of(config), access_of(config, keys, reads_only=reads_only)
    connection = await connect(config, address)
    for _ in range(_REDIRECTIONS):
        try:
            found = await _find_node(connection, address, keys.state, access)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if found == address:
            break
        await connection.disconnect(nowait=True)
        address = found
        connection = await connect(config, address)
    return Wire(
        connection,
        where=str(address),
        access=access,
        timeout_s=config.ack_timeout_s,
        clock=clock,
        on_failure=on_failure,
    )


async def _find_node(connection: AbstractConnection, address: Address, key: str, access: Access) -> Address:
    """The node that has the key, as the cluster says; the same one where it is none."""
    await connection.send_command("EXISTS", key)
    try:
        await connection.read_response()
    except exceptions.ResponseError as error:
        if code_of(error) != "MOVED":
            raise answered(error, str(address), f"look at key {key}", access=access, keys=[key]) from error
        host, _, port = str(error).split(" ")[-1].rpartition(":")
        return address._replace(host=host or address.host, port=int(port))
    except (exceptions.RedisError, OSError) as error:
        raise unreachable(error, str(address)) from error
    return address


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
