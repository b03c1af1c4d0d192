"""The sink that adds events to streams of Redis or Valkey: set-up; `publisher` does the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ditto.errors import AnswerUnreadable, ChainBroken, SinkLost
from ditto.lsn import Checkpoint
from ditto.routing.router import description_subjects, snapshot_subjects
from ditto.sinks.base import Batch, Capabilities, Clock, PipelineId, SinkState
from ditto.sinks.own_stores import OwnStores
from ditto.sinks.owner import claimed_by, encode_owner, with_source
from ditto.sinks.redis import scripts
from ditto.sinks.redis.connecting import open_wire, usable_server
from ditto.sinks.redis.publisher import Publisher
from ditto.sinks.redis.server_facts import largest_message
from ditto.sinks.redis.stored_state import (
    KIND,
    check_owner,
    keys_of,
    read_owner,
    read_state,
    tail_of_checkpoint,
    tail_of_entry,
    unread_entry,
)
from ditto.sinks.redis.wire import Wire

if TYPE_CHECKING:
    from ditto.config import PipelineConfig


class RedisSink(OwnStores):
    """A `Sink` (see `sinks.base`). The tail is beside the streams, which may be trimmed."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        if config.redis is None:
            raise RuntimeError("there is no section redis")
        self._config = config.redis
        self._accepts_gap = config.delivery.accepts_gap
        self._clock = clock
        self._keys = keys_of(config.redis.key_prefix, config.events.prefix)
        self._publisher = Publisher(
            self._keys,
            key_prefix=config.redis.key_prefix,
            descriptions=description_subjects(config.events.prefix),
            controls=snapshot_subjects(config.events.prefix),
            max_length=config.redis.max_length,
        )
        self._wire: Wire | None = None
        self._max_bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        """The largest message is the server's largest argument, which is known once it is connected."""
        return Capabilities(
            KIND,
            self._keys.label,
            "redis.key_prefix or events.prefix",
            "raise proto-max-bulk-len of the server",
            max_bytes=self._max_bytes,
            is_fenced=True,
        )

    # ------------------------------------------------------------------------------------ set-up

    async def connect(self) -> None:
        """Connect to the server, or to the node that has the keys."""
        on_failure = self._publisher.progress.fail
        self._wire = await open_wire(self._config, self._keys, clock=self._clock, on_failure=on_failure)
        await usable_server(self._config, self._wire)
        self._max_bytes = await largest_message(self._wire)

    @property
    def _server(self) -> Wire:
        if self._wire is None:
            raise SinkLost("not connected to Redis")
        return self._wire

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Look at the state without changing anything."""
        key = self._keys.state
        fields = await self._server.ask("read the state", "HMGET", key, "owner", "tail", "snapshots")
        owner = read_owner(fields[0], key)
        check_owner(owner, pipeline, key, accepts_gap=self._accepts_gap)
        tail = fields[1]
        if (entry := unread_entry(tail, key)) is not None:
            stream, identifier = entry
            answer = await self._server.ask("read the last entry", "XRANGE", stream, identifier, identifier)
            # Where somebody has removed it, its position is known all the same.
            tail = tail_of_entry(*answer[0]) if answer else tail
        return read_state(owner, tail, fields[2], key)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Nothing is missing: a stream is there with its first entry."""
        del routes
        await self.inspect(pipeline)

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> PipelineId | None:
        """Write the owner into the state."""
        del routes
        key, server = self._keys.state, self._server
        stored = await server.ask("read the owner", "HGET", key, "owner")
        before = read_owner(stored, key)
        check_owner(before, pipeline, key, accepts_gap=self._accepts_gap)
        if before is not None and before.system_identifier == pipeline.system_identifier:
            return before
        claimant = encode_owner(claimed_by(pipeline, before))
        is_claimed = await server.ask(
            "claim the streams", "EVAL", scripts.CLAIM, 1, key, b"" if stored is None else stored, claimant
        )
        if not is_claimed:
            raise ChainBroken("another Ditto has claimed the streams in the same moment", hint="Ditto looks again")
        return before

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Fence every other session, and find the tail."""
        server = self._server
        script = await server.ask("load a script", "SCRIPT", "LOAD", scripts.PUBLISH)
        epoch = await server.ask("open the streams", "EVAL", scripts.OPEN, 1, self._keys.state)
        if not isinstance(script, bytes) or not isinstance(epoch, int):
            raise AnswerUnreadable(f"{server.where} gives answers of another kind than asked for")
        self._publisher.begin(server, script=script, epoch=epoch, max_bytes=self._max_bytes)
        return await self.inspect(pipeline)

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """A stream is there with its first entry."""

    # ------------------------------------------------------------------------------------ messages

    async def send(self, batch: Batch) -> None:
        """Take the messages. Raises MessageTooLarge."""
        self._publisher.send(batch)

    async def flush(self) -> None:
        """Nothing is kept open: all that was sent will be acknowledged."""
        self._publisher.progress.check()

    async def acknowledged(self) -> int:
        """See `base.Sink`."""
        return await self._publisher.progress.acknowledged()

    async def close(self) -> None:
        """Close the connection. The next session goes on after what the server has stored by then."""
        wire, self._wire = self._wire, None
        if wire is not None:
            self._publisher.progress.fail(SinkLost(f"the connection to {wire.where} was closed"))
            await wire.close()

    # ------------------------------------------------------------------------------------ beside the messages

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """The tail alone: a stream holds no checkpoints."""
        self._publisher.checkpoint(tail_of_checkpoint(checkpoint), number=number)

    async def save_snapshots(self, control: bytes) -> None:
        """In the state."""
        await self._set("snapshots", control)

    async def save_source(self, pipeline: PipelineId) -> None:
        """Timeline and publication, in the owner's record."""
        key = self._keys.state
        owner = read_owner(await self._server.ask("read the owner", "HGET", key, "owner"), key)
        await self._set("owner", encode_owner(with_source(owner, pipeline)))

    async def last_payloads(self, pattern: str) -> Mapping[str, bytes]:
        """Of Ditto's own streams, the last payload, from a hash: so that nobody has to search for keys."""
        found: list[bytes] = await self._server.ask("read the descriptions", "HGETALL", self._keys.own)
        skipped = len(self._config.key_prefix)
        routes = (each.decode()[skipped:] for each in found[::2])
        beginning = pattern.removesuffix(">")
        return {
            route: payload
            for route, payload in zip(routes, found[1::2], strict=True)
            if (route.startswith(beginning) if pattern.endswith(">") else route == pattern)
        }

    async def _set(self, field: str, value: bytes) -> Any:
        doing = f"write the {field}"
        return await self._server.ask(
            doing, "EVAL", scripts.SET, 1, self._keys.state, self._publisher.fence, field, value
        )
