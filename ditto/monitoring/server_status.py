"""The status of both servers, read without changing anything: slot, stream, leader and standbys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC
from functools import partial
from typing import Final, TypeVar

import msgspec
import structlog

from ditto.config import PipelineConfig
from ditto.errors import DittoError, SinkError
from ditto.formats.reading import read_event
from ditto.log import mask_secrets
from ditto.lsn import format_lsn
from ditto.monitoring.status import Leader, Servers, Slot, Stream, rfc3339
from ditto.pipeline.lease import Terms, read_terms
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.answers import StoredMessage
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.lease_bucket import LeaseBucket
from ditto.sinks.jetstream.stream import Stream as StreamApi
from ditto.sinks.jetstream.tail import position_of
from ditto.source import slot as source
from ditto.source.slot import find_slot
from ditto.source.sql import Control, open_control
from ditto.source.standbys import Standby, find_standbys
from ditto.source.walsender import find_walsender

log = structlog.get_logger()

_TIMEOUT_S: Final = 10.0

T = TypeVar("T")


class ServerStatusReader:
    """Keeps a connection to each server, and connects again after a failure. Owned by one task."""

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self._control: Control | None = None
        self._client: Connection | None = None
        self._bucket: LeaseBucket
        self._control_stack = AsyncExitStack()

    async def read(self) -> Servers:
        """Ask both. A server that does not answer is one of `problems`; nothing is raised."""
        problems: list[str] = []
        notes: list[str] = []
        postgres, nats = await asyncio.gather(
            _or_problem(self._ask_postgres, problems, self._close_control),
            _or_problem(partial(self._ask_nats, notes), problems, self._close_client),
        )
        slot, leader, standbys = postgres or (None, None, [])
        if postgres is not None and slot is None:
            notes.append(f"slot {self._config.postgres.slot}: it does not exist")
        stream, terms = nats or (None, None)
        if leader is not None and terms is not None and terms.walsender_pid == leader.walsender_pid:
            leader = msgspec.structs.replace(leader, host=terms.host, host_pid=terms.pid)
        return Servers(rfc3339(time.time()), slot, stream, leader, standbys, problems, notes)

    async def close(self) -> None:
        """Close both connections."""
        await self._close_control()
        await self._close_client()

    async def _ask_postgres(self) -> tuple[Slot | None, Leader | None, list[Standby]]:
        config = self._config.postgres
        if self._control is None:
            self._control = await self._control_stack.enter_async_context(open_control(config.dsn))
        control = self._control
        slot = await find_slot(control, config.slot, timeout_s=_TIMEOUT_S)
        standbys = await find_standbys(control, config.slot)
        if slot is None:
            return None, None, standbys
        leader = None
        if slot.active_pid is not None and not slot.is_being_created:  # the session that creates a slot reads nothing
            walsender = await find_walsender(control, slot.active_pid)
            leader = Leader(slot.active_pid, walsender.address, walsender.since, None)
        return _slot(slot), leader, standbys

    async def _close_control(self) -> None:
        self._control = None
        with suppress(Exception):  # it was broken before
            await self._control_stack.aclose()

    async def _ask_nats(self, notes: list[str]) -> tuple[Stream | None, Terms | None]:
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

    async def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await servers.close(client)


async def _or_problem(
    ask: Callable[[], Awaitable[T]], problems: list[str], close: Callable[[], Awaitable[None]]
) -> T | None:
    try:
        return await ask()
    except DittoError as error:
        problems.append(mask_secrets(error.message))
    except Exception as error:  # noqa: BLE001  it must not end the caller; its text may hold anything
        log.debug("servers.not_read", kind=type(error).__name__)
        problems.append(f"unexpected {type(error).__name__}")
    await close()
    return None


def _slot(slot: source.Slot) -> Slot:
    return Slot(
        name=slot.name,
        active_pid=slot.active_pid,
        wal_status=slot.wal_status,
        confirmed_lsn=format_lsn(slot.confirmed_lsn) if slot.confirmed_lsn else None,
        restart_lsn=None if slot.restart_lsn is None else format_lsn(slot.restart_lsn),
        wal_lsn=format_lsn(slot.wal_lsn),
        lag_bytes=slot.lag_bytes,
        retained_bytes=slot.retained_bytes,
        safe_bytes=slot.safe_bytes,
    )


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
    """The time of the change's commit; of a checkpoint: that of storing it."""
    try:
        at = read_event(message.data).committed_at()
    except ValueError:
        at = message.time
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
