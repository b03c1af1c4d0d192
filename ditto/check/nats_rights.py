"""Rights in NATS that only `ditto run` needs, and the buckets beside the stream: seen without a change.

nats-server looks at the right to publish first. What is published here, JetStream then refuses: a request that names
another stream than its subject does, and a message that is only for a stream of another name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from ditto.check.finding import Finding, bad, failed, ok, unseen
from ditto.errors import DittoError, SinkDenied
from ditto.hints import nats_command
from ditto.sinks.jetstream.lease_bucket import BUCKET, LeaseBucket
from ditto.sinks.jetstream.object_store import ObjectBucket

if TYPE_CHECKING:
    from ditto.config import Config
    from ditto.sinks.jetstream.stream import Stream

_CHECK_LEASE: Final = "nats.lease"
_CHECK_OBJECTS: Final = "nats.object_store"
_LEASE: Final = "with it a standby takes over soon where a machine or the network fails; Ditto works without it, too"
_OBJECTS: Final = "an event that no message can hold is stored there, whole"


async def check_rights(config: Config, stream: Stream) -> list[Finding]:
    """Of the stream and its buckets."""
    found = [await _check_stream(config, stream)]
    if config.delivery.lease_ttl_s:
        found.append(await _check_lease(config, stream))
    if config.events.oversize == "object_store":
        found.append(await _check_objects(config, stream))
    return found


async def _check_stream(config: Config, stream: Stream) -> Finding:
    check, why = "nats.permissions", "ditto run creates the stream, and gives it what it lacks"
    if not config.nats.create and not stream.exists:
        return ok(check, "nats.create is false: the stream is created by somebody else", why)
    actions: tuple[Literal["CREATE", "UPDATE"], ...] = ("UPDATE",) if stream.exists else ("CREATE", "UPDATE")
    for action in actions:
        try:
            await stream.api.try_change(action, stream.name, f"{action.lower()} stream {stream.name}")
        except SinkDenied as error:
            # A stream that lacks nothing needs no update, until there is a new table.
            return (
                bad("warning", check, error.message, f"{why}; {error.hint}") if stream.exists else failed(check, error)
            )
        except DittoError as error:
            return unseen(check, error)
    return ok(check, f"the user may {' and '.join(each.lower() for each in actions)} stream {stream.name}", why)


async def _check_lease(config: Config, stream: Stream) -> Finding:
    bucket = LeaseBucket(stream.connection, config.nats, slot=config.postgres.slot, ttl_s=config.delivery.lease_ttl_s)
    command = nats_command(config.nats, "kv", "add", BUCKET)
    try:
        return await _check_bucket(
            _CHECK_LEASE, bucket, BUCKET, config, severity="warning", why=_LEASE, command=command
        )
    except DittoError as error:
        return bad("warning", _CHECK_LEASE, error.message, f"{_LEASE}: {error.hint}" if error.hint else _LEASE)


async def _check_objects(config: Config, stream: Stream) -> Finding:
    name = config.nats.object_store.bucket
    bucket, command = ObjectBucket(stream.connection, config.nats), nats_command(config.nats, "object", "add", name)
    try:
        return await _check_bucket(
            _CHECK_OBJECTS, bucket, name, config, severity="error", why=_OBJECTS, command=command
        )
    except DittoError as error:
        return failed(_CHECK_OBJECTS, error)


async def _check_bucket(
    check: str,
    bucket: LeaseBucket | ObjectBucket,
    name: str,
    config: Config,
    *,
    severity: Literal["warning", "error"],
    why: str,
    command: str,
) -> Finding:
    """`command` creates it. Raises what keeps the user from using it."""
    exists = await bucket.exists()
    if not exists and not config.nats.create:
        what = f"bucket {name} does not exist, and nats.create is false"
        return bad(severity, check, what, why, command=command)
    await bucket.try_rights(exists=exists)
    state = "exists" if exists else "will be created by ditto run"
    return ok(check, f"bucket {name} {state}, and the user may use it", why)
