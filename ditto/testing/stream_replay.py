"""The replay of a stream by a client that is connected already: for tests and the demonstration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.config import Events, Nats, PipelineConfig
from ditto.sinks.jetstream.reader import StreamReader, object_of, read_stream
from ditto.verify import replay as replay_sink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from nats.aio.client import Client

    from ditto.decoding.change import StoredObject
    from ditto.sinks.base import Part
    from ditto.verify import Replay


async def replay(
    client: Client,
    stream: str,
    *,
    keys: Mapping[tuple[str, str], Sequence[str]],
    prefix: str = "ditto",
    domain: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Replay:
    """See `ditto.verify.replay`."""
    config = PipelineConfig(nats=Nats(stream=stream, domain=domain), events=Events(prefix=prefix))
    return await replay_sink(_Reader(config, client), keys=keys, on_progress=on_progress)


class _Reader(StreamReader):
    """Over a connection that is not its own."""

    def __init__(self, config: PipelineConfig, client: Client) -> None:
        super().__init__(config)
        self._given, self._nats, self._prefix_of = client, config.nats, config.events.prefix

    def read(self) -> AsyncGenerator[Part]:
        return read_stream(self._given, self._nats.stream, prefix=self._prefix_of, domain=self._nats.domain)

    async def read_object(self, stored: StoredObject) -> bytes | None:
        return await object_of(self._given, stored, domain=self._nats.domain)
