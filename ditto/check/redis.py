"""The checks of a Redis server, of the streams on it, and of both ends together."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from ditto.check.finding import Finding, bad, failed, named, ok, unseen
from ditto.check.place import compare_sink
from ditto.check.redis_server import (
    check_cluster,
    check_eviction,
    check_memory,
    check_permissions,
    check_persistence,
    check_role,
    check_version,
)
from ditto.errors import DittoError
from ditto.routing.router import Router, description_subjects
from ditto.sinks.redis.connecting import has_hash_tag, open_wire
from ditto.sinks.redis.entries import entries_of
from ditto.sinks.redis.server import sends_password_in_plain_text
from ditto.sinks.redis.server_facts import look_at_server
from ditto.sinks.redis.sink import RedisSink
from ditto.sinks.redis.stored_state import keys_of, read_state
from ditto.units import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from ditto.check.source import Source
    from ditto.config import Config, Redis
    from ditto.sinks.redis.stored_state import Keys
    from ditto.sinks.redis.wire import Wire

_STREAM: Final = b"stream"
_ABSENT: Final = b"none"


async def check_redis(
    config: Config, source: Source | None, found: list[Finding], monitor_url: str | None, *, is_running: bool
) -> None:
    """See `check.choose`."""
    del monitor_url
    redis = config.redis
    if redis is None:
        raise RuntimeError("there is no section redis")
    keys = keys_of(redis.key_prefix, config.events.prefix)
    try:
        wire = await open_wire(redis, keys, clock=time.monotonic, on_failure=lambda _error: None)
    except DittoError as error:
        found.append(failed("redis.connect", error))
        return
    try:
        found.append(ok("redis.connect", f"connected to {wire.where}", "everything goes there"))
        found.append(check_credentials(redis))
        before = len(found)
        facts = await look_at_server(wire)
        found += [check_version(facts, wire.where), *check_role(redis, facts, config.delivery)]
        found += [check_cluster(facts, has_hash_tag=has_hash_tag(redis)), check_eviction(redis, facts)]
        found.append(check_memory(redis, facts))
        found.append(await check_persistence(redis, facts, wire, config.delivery))
        streams = _streams(config, source, found)
        found.append(await check_permissions(keys, streams, wire))
        if any(finding.level == "error" for finding in found[before:]):
            return
        descriptions = f"{redis.key_prefix}{description_subjects(config.events.prefix)}"
        found.append(await check_streams(keys, streams, wire, descriptions=descriptions))
        if not is_running:
            found += await compare_sink(config, source, RedisSink(config, clock=time.monotonic))
    except DittoError as error:
        found.append(unseen("redis.server", error))
    finally:
        await wire.close()


def check_credentials(config: Redis) -> Finding:
    """Whether a machine between Ditto and Redis could read the password."""
    check, why = "redis.credentials", "a reader on the way could write into the streams in Ditto's place"
    if not sends_password_in_plain_text(config):
        return ok(check, "no password goes to another machine in plain text", why)
    what = "a password goes to another machine in plain text (redis.allow_plaintext_credentials)"
    return bad("warning", check, what, why, configuration="redis: {tls: {}}   # then remove that setting")


def _streams(config: Config, source: Source | None, found: list[Finding]) -> set[str]:
    """The keys of the streams that events of the published tables go to."""
    prefix = "" if config.redis is None else config.redis.key_prefix
    router = Router(config.events, database=source.database if source else "")
    needed = set()
    for table in source.tables if source else ():
        try:
            needed |= router.routes(*table).names
        except DittoError as error:
            found.append(failed("redis.streams", error))
    return {f"{prefix}{subject}" for subject in needed - {""}} or {f"{prefix}{config.events.prefix}_table"}


async def check_streams(keys: Keys, needed: Collection[str], wire: Wire, *, descriptions: str) -> Finding:
    """Whether the streams are Ditto's alone: what else is in them may keep an event out.

    Streams whose keys begin with `descriptions` get ids that the server makes.
    """
    check = "redis.streams"
    why = (
        "an entry's id is its event's position, and the server refuses one that is not newer than the last: Ditto has "
        "to be the only writer"
    )
    own = [each.decode() for each in await wire.ask("list the streams", "SMEMBERS", keys.streams)]
    names = sorted({*own, *needed})
    types = await asyncio.gather(*(wire.ask("look at keys", "TYPE", name) for name in names))
    by_type = dict(zip(names, types, strict=True))
    others = [name for name in names if by_type[name] not in {_STREAM, _ABSENT}]
    if others:
        what = f"keys hold something else than a stream: {named(others)}"
        return bad("error", check, what, f"{why}; rename them, or give Ditto others (redis.key_prefix)")
    strange = [name for name in names if by_type[name] == _STREAM and name not in own]
    if strange:
        what = f"streams are there already that are not Ditto's: {named(strange)}"
        return bad("error", check, what, f"{why}; rename them, or give Ditto others (redis.key_prefix)")
    there = [name for name in own if by_type[name] == _STREAM and not name.startswith(descriptions)]
    asked = (wire.ask("read the last entries", "XREVRANGE", name, "+", "-", "COUNT", 1) for name in there)
    last = {name: entries_of(b"", answer) for name, answer in zip(there, await asyncio.gather(*asked), strict=True)}
    # Ditto may add to them meanwhile: the tail is looked at when that is done.
    tail = read_state(None, await wire.ask("read the tail", "HGET", keys.state, "tail"), None, keys.state).tail
    ahead = [name for name, entries in last.items() if entries and tail is not None and entries[0].position > tail]
    if ahead:
        what = f"streams have entries after Ditto's last one: {named(ahead)}"
        fix = f"delete what others have written, with its stream, or restore Ditto's key {keys.state}"
        return bad("error", check, what, f"{why}; {fix}")
    return ok(check, f"{counted(len(there), 'stream')} of Ditto's, and no others in the way", why)
