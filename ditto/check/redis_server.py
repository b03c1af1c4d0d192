"""What a Redis server says of itself: whether it keeps what it has acknowledged, and has room for more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ditto.check.finding import Finding, bad, failed, named, ok
from ditto.errors import RedisUnsuitable, SinkDenied
from ditto.hints import redis_command
from ditto.sinks.redis.server_facts import Facts, setting
from ditto.units import counted, size, span

if TYPE_CHECKING:
    from collections.abc import Collection

    from ditto.config import Delivery, Redis
    from ditto.sinks.redis.stored_state import Keys
    from ditto.sinks.redis.wire import Wire

_NEARLY: Final = 0.8
_EVERYSEC_S: Final = 2.0
"""How long an entry may wait for its fsync with `appendfsync everysec`, as Redis documents it."""
_FAILOVER_S: Final = 10

_NEEDED: Final = """
local missing = {}
for _, each in ipairs(cjson.decode(ARGV[1])) do
  if not redis.acl_check_cmd(unpack(each)) then
    missing[#missing + 1] = each[1] .. ' ' .. each[2]
  end
end
return missing
"""
"""Which of the commands in ARGV[1] (JSON) the user may not give. Runs none of them."""


def check_version(facts: Facts, where: str) -> Finding:
    """Whether the server has the commands that Ditto gives."""
    check, why = (
        "redis.version",
        "ids that a script makes, and errors in scripts, are as Ditto needs them from Redis 7.0 on",
    )
    if not facts.version:
        return bad("warning", check, f"{where} does not say its version: the user may not call INFO", why)
    try:
        facts.check_version(where)
    except RedisUnsuitable as error:
        return failed(check, error)
    return ok(check, facts.name, why)


def check_role(config: Redis, facts: Facts, delivery: Delivery) -> list[Finding]:
    """Whether it is the master, and what a failover would lose."""
    check, why = "redis.role", "a replica takes no writes"
    if facts.values.get("role") == "slave":
        master = f"{facts.values.get('master_host')}:{facts.values.get('master_port')}"
        fix = f"redis: {{url: redis://{master}}}"
        return [bad("error", check, f"the server is a replica of {master}", why, configuration=fix)]
    replicas = facts.number("connected_slaves")
    if not replicas:
        return [ok(check, "the server is a master without replicas", why)]
    why = (
        "the server acknowledges before its replicas have an entry: after a failover the end may be missing, which "
        "PostgreSQL has given up by then unless delivery.confirm_delay is longer than the replicas lag"
    )
    what = f"the server is a master with {counted(replicas, 'replica')}"
    if delivery.confirm_delay_s:
        return [ok(check, f"{what}, and delivery.confirm_delay is {span(delivery.confirm_delay_s)}", why)]
    return [bad("warning", check, what, why, configuration=f"delivery: {{confirm_delay: {_FAILOVER_S}s}}")]


def check_cluster(facts: Facts, *, has_hash_tag: bool) -> Finding:
    """Whether all keys are in one slot, where there are slots."""
    check, why = (
        "redis.cluster",
        "an entry and the place that says how far Ditto is are stored in one step, on one node",
    )
    if not facts.is_cluster:
        return ok(check, "the server is in no cluster", why)
    if has_hash_tag:
        return ok(check, "the server is in a cluster, and redis.key_prefix has a hash tag", why)
    fix = 'redis: {key_prefix: "{shop}:"}   # any text in the braces'
    what = "the server is in a cluster, and redis.key_prefix has no hash tag: keys would be on several nodes"
    return bad("error", check, what, why, configuration=fix)


def check_eviction(config: Redis, facts: Facts) -> Finding:
    """Whether the server removes keys of its own accord."""
    check, why = (
        "redis.maxmemory_policy",
        "a stream that is evicted is gone with its events, and Ditto's key with its place",
    )
    policy = facts.values.get("maxmemory_policy", "unknown")
    if facts.may_evict:
        fix = redis_command(config, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        return bad("error", check, f"maxmemory-policy is {policy}, and there is a maxmemory", why, command=fix)
    if policy.startswith("allkeys"):
        fix = redis_command(config, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        return bad(
            "warning", check, f"maxmemory-policy is {policy}, which a maxmemory would bring to life", why, command=fix
        )
    return ok(check, f"maxmemory-policy is {policy}: Ditto's keys, which do not expire, stay", why)


def check_memory(config: Redis, facts: Facts) -> Finding:
    """How much more the server takes."""
    check, why = "redis.memory", "where the server's memory is full it stores nothing more, and the slot retains WAL"
    used, most, name = facts.number("used_memory"), facts.max_memory, "maxmemory"
    if not most:
        most, name = facts.number("total_system_memory"), "the machine's memory; there is no maxmemory"
    trims = (
        f"redis.max_length is {config.max_length:,}" if config.max_length else "no stream is trimmed (redis.max_length)"
    )
    if not most:
        return ok(check, f"{size(used)} are used; {trims}", why)
    what = f"{size(used)} of {size(most)} are used ({name}); {trims}"
    if used < _NEARLY * most:
        return ok(check, what, why)
    if facts.max_memory:
        fix = redis_command(config, "CONFIG", "SET", "maxmemory", str(2 * most))
        return bad("error" if used >= most else "warning", check, what, why, command=fix)
    return bad(
        "warning", check, what, why, configuration="redis: {max_length: 1000000}   # entries that each stream keeps"
    )


async def check_persistence(config: Redis, facts: Facts, wire: Wire, delivery: Delivery) -> Finding:
    """Whether the server has what it has acknowledged after it was killed, and after a power failure."""
    check = "redis.persistence"
    why = (
        "what the server has acknowledged is confirmed to PostgreSQL: where a restart of the server loses it, Ditto "
        "stops (StreamGap)"
    )
    if "aof_enabled" not in facts.values:
        return bad("warning", check, "cannot be seen: the user may not call INFO", why)
    if facts.values["aof_enabled"] != "1":
        fix = redis_command(config, "CONFIG", "SET", "appendonly", "yes")
        what = "appendonly is no: a restart loses everything since the last RDB file"
        return bad("error", check, what, f"{why}; put it into the server's configuration file too", command=fix)
    if facts.values.get("aof_last_write_status", "ok") != "ok":
        return bad(
            "error", check, "the server cannot write its append-only file", f"{why}; look at its disk and its log"
        )
    when = await setting(wire, "appendfsync")
    what = f"appendonly is yes, and appendfsync is {when or 'unknown: the user may not call CONFIG GET'}"
    if when == "always" or (when in {"everysec", None} and delivery.confirm_delay_s >= _EVERYSEC_S):
        return ok(check, what, why)
    if when == "everysec":
        then = "a power failure may take the last second with it. appendfsync always prevents that, and is slower"
        return bad(
            "warning", check, what, f"{why}; {then}", configuration=f"delivery: {{confirm_delay: {_EVERYSEC_S:g}s}}"
        )
    fix = redis_command(config, "CONFIG", "SET", "appendfsync", "always")
    return bad("warning", check, what, why, command=fix)


async def check_permissions(keys: Keys, streams: Collection[str], wire: Wire) -> Finding:
    """Whether the ACL user may give Ditto's commands for Ditto's keys, and for the streams that are to come."""
    check, why = "redis.permissions", "ditto run needs them all, and the commands that read need the last ones"
    state, own, names = keys
    any_stream = min(streams)
    commands = [
        *(["HGET", state, "f"], ["HMGET", state, "f"], ["HSET", state, "f", "v"], ["HINCRBY", state, "f", "1"]),
        *(["HSET", own, "f", "v"], ["HGETALL", own], ["SADD", names, "m"], ["EXISTS", state]),
        *(["EVALSHA", "0" * 40, "1", state], ["SCRIPT", "LOAD", "return 1"], ["SMEMBERS", names]),
        *(each for stream in sorted(streams) for each in (["EXISTS", stream], ["XADD", stream, "1-1", "f", "v"])),
        *(["XLEN", any_stream], ["XRANGE", any_stream, "-", "+"], ["XREVRANGE", any_stream, "+", "-"]),
        *(["XREAD", "STREAMS", any_stream, "0"], ["TYPE", any_stream]),
    ]
    try:
        missing: list[bytes] = await wire.ask("see the permissions", "EVAL", _NEEDED, 0, json.dumps(commands))
    except SinkDenied as error:
        return failed(check, error)
    if not missing:
        return ok(check, "the user may give all commands", why)
    words = [each.decode(errors="replace") for each in missing]
    pairs = [(command, key) for command, _, key in (each.partition(" ") for each in words)]
    barred = [key for command, key in pairs if command == "EXISTS"]  # it may be given: the first thing that Ditto does
    lacks_commands = any(key not in barred for _, key in pairs)
    command = wire.access.command(keys=barred, lacks_commands=lacks_commands)
    what = f"user {wire.access.user} may not: {named(words, limit=20)}"
    return bad("error", check, what, f"{why}; ACL SAVE, or CONFIG REWRITE, keeps it", command=command)
