"""Reads a stream back for the commands that look at it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import nats.errors

from ditto.errors import AckTimeout, SinkError, SinkLost, StreamNotFound
from ditto.reader import ObjectDamaged, ObjectGone, read_object
from ditto.sinks.base import Held, Part, ReadMessage, Start
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.api import Api
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.follower import Follower
from ditto.sinks.jetstream.requests import Requests
from ditto.sinks.jetstream.stream import Stream
from ditto.sinks.jetstream.stream_batches import read_batches

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ditto.config import PipelineConfig
    from ditto.decoding.change import StoredObject


class StreamReader:
    """A reader (see `base.Reader`)."""

    kind = "stream"
    noun = "message"

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config.nats
        self._prefix = config.events.prefix
        self._client: Connection | None = None
        self._stream: Stream | None = None

    @property
    def name(self) -> str:
        """With its name on the server."""
        return f"stream {self._config.stream}"

    async def connect(self) -> None:
        """Raises what `servers.connect` does."""
        self._client = await servers.connect(self._config, accept=partial(servers.usable, config=self._config))
        self._stream = Stream(self._client, self._config)

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await servers.close(client)

    async def look(self) -> Held:
        """As the stream's leader has it."""
        if self._stream is None:
            raise RuntimeError("connect() comes first")
        if not await self._stream.look():
            return Held(exists=False)
        state = self._stream.state
        tail = (await self._stream.find_tail()).tail
        return Held(exists=True, tail=tail, messages=state.messages, bytes=state.bytes)

    async def read(self) -> AsyncGenerator[Part]:
        """In batches. Raises StreamNotFound, SinkLost where the server stops answering, AckTimeout where it is slow."""
        if self._client is None:
            raise RuntimeError("connect() comes first")
        config = self._config
        async with aclosing(
            read_stream(self._client, config.stream, prefix=self._prefix, domain=config.domain)
        ) as parts:
            while (part := await self._client.guard(_next(parts))) is not None:
                yield part

    async def follow(
        self, start: Start, *, is_endless: bool, on_lost: Callable[[SinkError], None]
    ) -> AsyncGenerator[Sequence[ReadMessage]]:
        """Through consumers and connections of its own."""
        follower = Follower(
            self._config,
            prefix=self._prefix,
            on_lost=on_lost,
            since=start.since,
            last=start.last,
            is_endless=is_endless,
        )
        async with aclosing(follower.messages()) as parts:
            async for part in parts:
                yield part

    async def read_object(self, stored: StoredObject) -> bytes | None:
        """From the object store beside the stream."""
        if self._client is None:
            raise RuntimeError("connect() comes first")
        return await object_of(self._client, stored, domain=self._config.domain)


async def object_of(client: Client, stored: StoredObject, *, domain: str | None) -> bytes | None:
    """See `base.Reader.read_object`."""
    try:
        return await read_object(client.jetstream(domain=domain), msgspec.structs.asdict(stored))
    except ObjectGone:
        return None
    except ObjectDamaged:
        return b""


async def read_stream(client: Client, stream: str, *, prefix: str, domain: str | None = None) -> AsyncGenerator[Part]:
    """See `base.Reader.read`: the stream of this name, over any connection."""
    requests = client.requests if isinstance(client, Connection) else Requests(client)
    api = Api(requests, domain=domain)
    doing = f"read stream {stream}"
    try:
        info = await api.stream_info(stream, doing)
        if info is None:
            raise StreamNotFound(f"there is no stream {stream}", hint="has ditto run yet?", stream=stream)
        if not info.state.messages:
            return
        async with aclosing(read_batches(client, api, stream, info.state, prefix=prefix)) as parts:
            async for part in parts:
                yield part
    except TimeoutError as error:
        raise AckTimeout(f"cannot {doing}: nats-server did not answer", hint="is it overloaded?") from error
    except nats.errors.Error as error:
        raise SinkLost(f"cannot {doing}: {str(error) or type(error).__name__}", stream=stream) from error


async def _next(parts: AsyncGenerator[Part]) -> Part | None:
    return await anext(parts, None)
