"""One database of the demonstration and the stream that a pipeline makes of it: how far it is, whether it is right."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import nats.js.errors

from ditto.demo.schema import create_tables, fill_tables
from ditto.demo.workload import Workload
from ditto.formats.snapshot_events import read_control
from ditto.routing.router import snapshot_subjects
from ditto.source.connection import connect
from ditto.source.slot import Slot, find_slot
from ditto.source.sql import Control, open_control
from ditto.testing.stream_replay import replay
from ditto.units import counted
from ditto.verify import Comparison, Difference, Replay, compare, read_publication, table_keys

if TYPE_CHECKING:
    import psycopg
    from nats.aio.client import Client

Progress = Callable[[int, int], None]


class Names(NamedTuple):
    """What the pipeline is called in both servers."""

    slot: str
    publication: str
    stream: str
    prefix: str


class Outcome(NamedTuple):
    """What the stream was found to be."""

    copy: Replay
    comparison: Comparison
    differences: list[Difference]


class Followed:
    """The database with this address. Made by `open_followed`."""

    def __init__(
        self, dsn: str, names: Names, connection: psycopg.AsyncConnection[Any], control: Control, client: Client
    ) -> None:
        self.names = names
        self.workload = Workload(dsn, rows_per_s=1)
        self._connection = connection
        self._control = control
        self._client = client
        self._end = 0

    async def create(self) -> int:
        """Make the tables. Returns how many rows are in them from the beginning."""
        await create_tables(self._connection)
        return await fill_tables(self._connection)

    async def is_streaming(self) -> bool:
        """Whether a pipeline reads the slot, and the stream is there."""
        slot = await self._slot()
        is_read = slot is not None and slot.active_pid is not None and not slot.is_being_created
        return is_read and await self.stored_count() is not None

    async def stored_count(self) -> int | None:
        """Events in the stream, of changes and of rows that were read; None when there is no stream."""
        try:
            info = await self._client.jetstream().stream_info(
                self.names.stream, subjects_filter=f"{self.names.prefix}.>"
            )
        except nats.js.errors.NotFoundError:
            return None
        return info.state.messages - sum((info.state.subjects or {}).values())  # Ditto's own

    async def lag_bytes(self) -> int:
        """WAL that is not confirmed yet."""
        slot = await self._slot()
        return 0 if slot is None else slot.lag_bytes or 0

    async def finish(self) -> None:
        """Commit the last transaction."""
        self._end = await self.workload.mark_end(self._connection)

    async def has_stored_all(self) -> bool:
        """Whether everything up to `finish` is stored and confirmed, and all rows of the beginning have been read."""
        slot = await self._slot()
        return slot is not None and slot.confirmed_lsn > self._end and await self._has_read_all()

    async def compare(self, *, on_replayed: Progress, on_compared: Progress) -> Outcome:
        """Replay the stream, and compare the copy with the tables row by row."""
        publication = await read_publication(self._control, self.names.publication)
        copy = await replay(
            self._client,
            self.names.stream,
            keys=await table_keys(self._control, publication.tables),
            prefix=self.names.prefix,
            on_progress=on_replayed,
        )
        result = await compare(self._control, copy, publication=publication, on_progress=on_compared)
        differences = copy.differences + result.differences
        if copy.events != self.workload.rows:
            message = f"{counted(copy.events, 'event')} for {counted(self.workload.rows, 'committed change')}"
            differences.append(Difference(message, "", "stream"))
        return Outcome(copy, result, differences)

    async def _slot(self) -> Slot | None:
        return await find_slot(self._control, self.names.slot)

    async def _has_read_all(self) -> bool:
        """Whether the snapshot of the rows that were there before has ended."""
        subject = f"{snapshot_subjects(self.names.prefix)}run"
        try:
            last = await self._client.jetstream().get_last_msg(self.names.stream, subject)
        except nats.js.errors.NotFoundError:
            return False
        control = read_control(last.data or b"")
        return control is not None and control.state == "finished"


@asynccontextmanager
async def open_followed(dsn: str, names: Names, client: Client) -> AsyncIterator[Followed]:
    """With connections of its own to the database."""
    connection = await connect(dsn, is_read_only=False)
    async with connection, open_control(dsn) as control:
        yield Followed(dsn, names, connection, control, client)
