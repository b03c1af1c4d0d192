"""What the server says of itself."""

from __future__ import annotations

from typing import Final, NamedTuple

from ditto.errors import RedisUnsuitable, SinkDenied, SinkError
from ditto.sinks.redis.wire import Wire

OLDEST: Final = (7, 0)
"""Ids of the form `1-*` and the errors of scripts are from 7.0 on."""
LARGEST: Final = 512 << 20
"""Bytes of an argument, where the server does not say (`proto-max-bulk-len`)."""


class Facts(NamedTuple):
    """From INFO; empty where the user may not ask."""

    values: dict[str, str]

    @property
    def version(self) -> tuple[int, ...]:
        """Of Redis, or of what a Valkey is compatible with; empty for unknown."""
        parts = self.values.get("redis_version", "").split(".")
        return tuple(int(part) for part in parts if part.isdecimal())

    @property
    def name(self) -> str:
        """Product and version."""
        if "valkey_version" in self.values:
            return f"Valkey {self.values['valkey_version']}"
        return f"Redis {self.values.get('redis_version', '(of a version that it does not say)')}"

    @property
    def is_cluster(self) -> bool:
        return self.values.get("cluster_enabled") == "1" or self.values.get("redis_mode") == "cluster"

    @property
    def max_memory(self) -> int:
        """Bytes; 0 for no limit."""
        return self.number("maxmemory")

    @property
    def may_evict(self) -> bool:
        """The server removes keys that do not expire, where its memory is full. Ditto's do not expire."""
        return self.max_memory > 0 and self.values.get("maxmemory_policy", "").startswith("allkeys")

    def number(self, name: str) -> int:
        """0 where it is not there."""
        text = self.values.get(name, "")
        return int(text) if text.isdecimal() else 0

    def check_version(self, where: str) -> None:
        """Raises RedisUnsuitable."""
        if self.version and self.version < OLDEST:
            raise RedisUnsuitable(f"{where} is {self.name}", hint="Redis 7 or Valkey 7.2 is the oldest that Ditto uses")

    def check_usable(self, where: str) -> None:
        """Raises RedisUnsuitable."""
        self.check_version(where)
        if self.may_evict:
            raise RedisUnsuitable(
                f"{where} evicts keys when its memory is full (maxmemory-policy "
                f"{self.values['maxmemory_policy']}): events would be lost, and where Ditto is",
                hint="CONFIG SET maxmemory-policy noeviction, and in the server's configuration file",
            )


async def look_at_server(wire: Wire) -> Facts:
    """INFO, where the user may ask for it."""
    try:
        text: bytes = await wire.ask("ask what server it is", "INFO")
    except SinkDenied:
        return Facts({})
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines() if not line.startswith("#"))
    return Facts({name: value for name, _, value in lines})


async def largest_message(wire: Wire) -> int:
    """Bytes of an argument that the server takes."""
    found = await setting(wire, "proto-max-bulk-len")
    return int(found) if found is not None and found.isdecimal() else LARGEST


async def setting(wire: Wire, name: str) -> str | None:
    """One of the server's; None where the user may not ask, and where the provider has taken CONFIG away."""
    try:
        found: list[bytes] = await wire.ask("read a setting", "CONFIG", "GET", name)
    except SinkError:
        if wire.failure is not None:
            raise
        return None
    return found[1].decode() if len(found) == 2 else None
