"""The status of both servers, read without changing anything: slot, stream, leader and standbys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import structlog

from ditto.config import PipelineConfig
from ditto.errors import DittoError
from ditto.log import mask_secrets
from ditto.lsn import format_lsn
from ditto.monitoring.status_document import Leader, Servers, SinkStatus, Slot, Stream
from ditto.monitoring.timestamps import rfc3339
from ditto.pipeline.lease import Terms
from ditto.sinks.choose import choose_reader
from ditto.source import slot as source
from ditto.source.slot import find_slot
from ditto.source.sql import Control, open_control
from ditto.source.standbys import Standby, find_standbys
from ditto.source.walsender import find_walsender

if TYPE_CHECKING:
    from ditto.monitoring.stream_status import StreamStatusReader
    from ditto.sinks.base import Reader

log = structlog.get_logger()

_TIMEOUT_S: Final = 10.0

T = TypeVar("T")


class ServerStatusReader:
    """Keeps a connection to each server, and connects again after a failure. Owned by one task."""

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self._control: Control | None = None
        self._stream: StreamStatusReader | None = None
        self._reader: Reader | None = None
        self._control_stack = AsyncExitStack()

    async def read(self) -> Servers:
        """Ask both. A server that does not answer is one of `problems`; nothing is raised."""
        problems: list[str] = []
        notes: list[str] = []
        postgres, stored = await asyncio.gather(
            _or_problem(self._ask_postgres, problems, self._close_control),
            _or_problem(partial(self._ask_sink, notes), problems, self._close_sink),
        )
        slot, leader, standbys = postgres or (None, None, [])
        if postgres is not None and slot is None:
            notes.append(f"slot {self._config.postgres.slot}: it does not exist")
        stream, terms, sink = stored or (None, None, None)
        if leader is not None and terms is not None and terms.walsender_pid == leader.walsender_pid:
            leader = msgspec.structs.replace(leader, host=terms.host, host_pid=terms.pid)
        return Servers(rfc3339(time.time()), slot, stream, leader, standbys, problems, notes, sink)

    async def close(self) -> None:
        """Close both connections."""
        await self._close_control()
        await self._close_sink()

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

    async def _ask_sink(self, notes: list[str]) -> tuple[Stream | None, Terms | None, SinkStatus | None]:
        """The stream, and what the lease says; or another sink, of which there is no lease."""
        if self._config.webhook is not None:
            notes.append(f"the events are posted to {self._config.webhook.origin}, which is not looked at")
            return None, None, None
        if self._config.keeps_nothing:
            notes.append("the events go to an exchange of RabbitMQ, which is not looked at")
            return None, None, None
        if self._config.sink == "nats":
            from ditto.monitoring.stream_status import StreamStatusReader  # noqa: PLC0415 -- of NATS alone

            self._stream = self._stream or StreamStatusReader(self._config)
            return *await self._stream.read(notes), None
        if self._config.file is not None and self._config.file.path == "-":
            notes.append("the events go to standard output, which is not looked at")
            return None, None, None
        if self._reader is None:
            self._reader = choose_reader(self._config)
            await self._reader.connect()
        held = await self._reader.look()
        if not held.exists:
            notes.append(f"{self._reader.name}: it does not exist")
            return None, None, None
        tail = None if held.tail is None else str(held.tail)
        kind, name = self._reader.kind, self._reader.name
        return None, None, SinkStatus(kind, name, tail, held.tail_time, held.messages, held.bytes)

    async def _close_sink(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        if self._stream is not None:
            await self._stream.close()


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
