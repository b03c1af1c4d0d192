"""The status of the stream, and of the lease beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from ditto.config import PipelineConfig
from ditto.errors import SinkError
from ditto.formats.own_headers import read_own
from ditto.formats.snapshot_events import read_control_event
from ditto.formats.stored_events import read_event
from ditto.log import mask_secrets
from ditto.monitoring.status_document import Stream
from ditto.pipeline.lease import Terms, read_terms
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.api_answers import StoredMessage
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.last_message import position_of
from ditto.sinks.jetstream.lease_bucket import LeaseBucket
from ditto.sinks.jetstream.stream import Stream as StreamApi


class StreamStatusReader:
    """Keeps a connection to NATS, and connects again after a failure. Owned by one task."""

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self._client: Connection | None = None
        self._bucket: LeaseBucket

    async def read(self, notes: list[str]) -> tuple[Stream | None, Terms | None]:
        """The stream, and what the lease says."""
        config = self._config.nats
        if self._client is None or self._client.is_closed:
            self._client = await servers.connect(config, accept=partial(servers.usable, config=config))
            # One for as long as the connection: each has a subscription of its own.
            self._bucket = LeaseBucket(
                self._client, config, slot=self._config.postgres.slot, ttl_s=self._config.delivery.lease_ttl_s
            )
        api = StreamApi(self._client, config)
        stream = await _stream(api)
        terms = None
        if self._config.delivery.lease_ttl_s:
            try:
                terms = read_terms((await self._bucket.read()).value)
            except SinkError as error:  # the leader has no name then
                notes.append(mask_secrets(error.message))
        return stream, terms

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await servers.close(client)


async def _stream(api: StreamApi) -> Stream | None:
    """None where there is no such stream."""
    if not await api.look():
        return None
    state = api.state
    message = await api.reader.message(state.last_seq) if state.last_seq else None
    position = None if message is None else position_of(message)
    return Stream(
        name=api.name,
        messages=state.messages,
        bytes=state.bytes,
        first_sequence=state.first_seq,
        last_sequence=state.last_seq,
        tail=None if position is None else str(position),
        tail_time=None if message is None or position is None else _time(message),
        storage=api.config.storage,
        replicas=api.replicas,
        node=None if api.cluster is None else api.cluster.leader,
        used_ratio=_used_ratio(api),
    )


def _used_ratio(api: StreamApi) -> float | None:
    config, state = api.config, api.state
    if config.discard != "new":
        return None  # it makes room by itself: it is full most of the time, and never refuses
    limits = ((state.bytes, config.max_bytes), (state.messages, config.max_msgs))
    return max((round(used / most, 4) for used, most in limits if most > 0), default=None)


def _time(message: StoredMessage) -> str:
    """The time of the change's commit, or of a control event's; of a checkpoint: that of storing it."""
    try:
        own = read_own(message.header)
        if own is not None:
            at = datetime.fromisoformat(own.commit_time or "")
        else:
            control = read_control_event(message.data)
            at = (
                datetime.fromisoformat(control.commit_time)
                if control
                else read_event(message.data, message.header).committed_at()
            )
    except ValueError:
        at = message.time
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
