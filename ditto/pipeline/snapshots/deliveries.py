"""The stream's side of snapshots: what is stored where the stream reaches a request, a marker or a barrier.

Everything here runs in the task that reads the replication connection, which holds the stream meanwhile: what is made
comes after every change before the marker, and before every change behind it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, NamedTuple, TypeAlias

import structlog

from ditto.decoding.choose import Decoder
from ditto.decoding.event_id import event_id
from ditto.decoding.messages import SNAPSHOT_PREFIX, Block, ChangeTooLarge, Delivered, LogicalMessage, RuleFailed
from ditto.errors import EventTooLarge, SnapshotRefused, StreamUnusable
from ditto.formats.snapshot_events import Control, ControlEvent
from ditto.lsn import Position
from ditto.pipeline.refused import rule_error
from ditto.pipeline.snapshots.moved_rows import MovedRows
from ditto.pipeline.snapshots.progress import Progress
from ditto.pipeline.snapshots.requests import parse_request
from ditto.pipeline.snapshots.runs import Runs
from ditto.routing.router import control_subjects, snapshot_subjects
from ditto.routing.templates import encode_token

log = structlog.get_logger()

Send: TypeAlias = Callable[[Block], Awaitable[int]]
"""Sends a block; returns the delivery number of its last message."""


class At(NamedTuple):
    """Where the stream is held: what is made gets positions `(commit_lsn, 1)`, `(commit_lsn, 2)`, …"""

    commit_lsn: int
    commit_time: str
    xid: int


Make: TypeAlias = Callable[[At], AsyncGenerator[Block | Control, None]]


class TooLargeRow(Exception):
    """A row of a snapshot makes an event that the sink does not take."""

    hint: Final = (
        "leave the column out of the publication, or give events.oversize; then ask for a snapshot of this table again"
    )


class _Marked(NamedTuple):
    make: Make
    done: asyncio.Future[None]


class Deliveries:
    """Of one session. `key` is `event_key(…)`, `denial` why the sink takes no control events, or empty; `emit` sends a
    marker with a token.
    """

    def __init__(
        self,
        runs: Runs,
        *,
        decoder: Decoder,
        moved: MovedRows,
        slot: str,
        key: bytes,
        prefix: str,
        denial: str,
        emit: Callable[[str], Awaitable[None]],
        progress: Progress,
        ensure_routes: Callable[[set[str]], Awaitable[None]],
        checkpoint: Callable[[int], Awaitable[None]],
    ) -> None:
        self.runs = runs
        self.moved = moved
        self.decoder = decoder
        self.changed = asyncio.Event()
        """Set whenever a request has changed the runs."""
        self.controls: deque[tuple[int, ControlEvent]] = deque()
        """Control events of this session with their delivery numbers: `SavedState` takes what is durable."""
        self._slot = slot
        self._key = key
        self._denial = denial
        self._subjects = snapshot_subjects(prefix)
        self._wildcard = control_subjects(prefix)
        self._emit = emit
        self._progress = progress
        self._ensure_routes = ensure_routes
        self.checkpoint = checkpoint
        """Store that everything before an LSN is stored: at a marker, before which commits may wait for that."""
        self._recorded: tuple[int | None, tuple[int, ...], tuple[str, ...]] = (None, (), ())
        self._marked: dict[str, _Marked] = {}
        self._barrier: tuple[At, Make, asyncio.Future[None]] | None = None

    # ------------------------------------------------------------------------------------ for the runner

    def expect(self, make: Make) -> tuple[str, asyncio.Future[None]]:
        """A token for a marker; where the stream reaches that, `make` gives what is to be stored, and the future ends.

        It raises TooLargeRow, after which nothing more of `make` was stored.
        """
        token = secrets.token_hex(8)
        done = asyncio.get_running_loop().create_future()
        self._marked[token] = _Marked(make, done)
        return token, done

    def give_up(self, token: str) -> bool:
        """The marker was not sent, or what it stands for is not wanted any more; False where that is stored by now."""
        return self._marked.pop(token, None) is not None

    async def send(self, make: Make) -> asyncio.Future[None]:
        """Send a marker; the future ends when the stream has reached it and what `make` gives is stored."""
        token, done = self.expect(make)
        await self._emit(token)
        return done

    async def store(self, make: Make) -> None:
        """Store what `make` gives at a marker of its own."""
        await (await self.send(make))

    def expect_before(self, lsn: int, at: At, make: Make) -> asyncio.Future[None]:
        """`make` gives what is stored before the first transaction that commits at `lsn` or later.

        Called while the stream is held, before it has come there.
        """
        done = asyncio.get_running_loop().create_future()
        self._barrier = at, make, done
        self.decoder.stop_before(lsn)
        return done

    @property
    def has_barrier(self) -> bool:
        """Whether `expect_before` has been called, and the stream has not come there yet."""
        return self._barrier is not None

    def record(self, oid: int | None, key: tuple[int, ...] = (), names: tuple[str, ...] = ()) -> None:
        """Record the changes of this relation from now on, or of none; what was recorded is forgotten."""
        self._recorded = oid, key, names
        self.decoder.record(oid, key, names)

    def record_again(self) -> None:
        """Forget what was recorded."""
        self.decoder.record(*self._recorded)

    async def emit(self) -> None:
        """Send a marker that stands for nothing: a transaction that a quiet server sends."""
        await self._emit(secrets.token_hex(8))

    # ------------------------------------------------------------------------------------ for the stream

    async def at_message(self, message: LogicalMessage, send: Send) -> None:
        """The stream has reached a request or a marker; `send` sends a block."""
        if message.prefix == SNAPSHOT_PREFIX:
            await self._request(message, send)
            return
        marked = self._marked.pop(message.content.decode("ascii", "replace"), None)
        if marked is None:  # of a session before this one
            return
        at = At(message.commit_lsn, message.commit_time, message.xid)
        await self._store(at, marked.make, marked.done, send)

    async def at_barrier(self, send: Send) -> None:
        """The stream has reached the barrier."""
        self.decoder.stop_before(0)
        barrier, self._barrier = self._barrier, None
        if barrier is not None:
            at, make, done = barrier
            await self._store(at, make, done, send)

    async def _store(self, at: At, make: Make, done: asyncio.Future[None], send: Send) -> None:
        """Store what is made. What goes wrong with making it is the runner's; the stream goes on."""
        error = await self._send_made(at, make, send)
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
            done.exception()  # where an earlier one has ended the reading, nobody asks for this one

    async def store_behind(self, at: At, ordinal: int, control: Control, send: Send) -> None:
        """Store a control event right behind the tail, which has this ordinal, before the stream goes on."""

        async def make(at: At) -> AsyncGenerator[Block | Control, None]:
            del at
            yield control

        error = await self._send_made(at, make, send, after=ordinal)
        if error is not None:  # the runner meets the same, and says so
            log.debug("snapshot.place_not_stored", reason=str(error))

    async def _send_made(self, at: At, make: Make, send: Send, *, after: int = 0) -> Exception | None:
        """`after` is the ordinal before the first one."""
        try:
            await self._ensure_routes({self._wildcard})
        except StreamUnusable as error:  # somebody has taken it away from the stream
            return error
        ordinal = after
        async with aclosing(make(at)) as all_made:
            while True:
                try:
                    made = await anext(all_made, None)
                except ChangeTooLarge as error:
                    return TooLargeRow(
                        f"a row of table {error.relation} makes an event of at least {error.size:,} bytes, most of it "
                        f"in the column {error.column}, which the sink does not accept"
                    )
                except RuleFailed as error:  # of this table; the live stream goes on
                    refused = rule_error(error)
                    return SnapshotRefused(refused.message, hint=refused.hint, relation=error.relation)
                except Exception as error:  # noqa: BLE001  raised by the runner
                    return error
                if made is None:
                    return None
                block = self._control(made, at, ordinal + 1) if isinstance(made, Control) else made
                if not block.changes:
                    continue
                ordinal = block.ordinals[-1]
                if isinstance(made, Control):
                    block.delivered = Delivered(at.commit_lsn, at.commit_lsn, 1)
                try:
                    number = await send(block)
                except EventTooLarge as error:
                    if isinstance(made, Control):
                        raise
                    return TooLargeRow(error.message)
                if isinstance(made, Control):
                    self.moved.saved(number)
                    self._note_control(number, block)

    async def _request(self, message: LogicalMessage, send: Send) -> None:
        default = f"{message.commit_lsn:X}-{message.ordinal}"
        try:
            request = parse_request(message.content)
            if request.slot not in {"", self._slot}:  # another Ditto that reads this database is asked
                return
            control = self.runs.requested(request, default, at=message.commit_time)
        except ValueError as error:
            control = self.runs.refused(default, f"the request cannot be read: {error}")
        log.info("snapshot.request", run=control.run, state=control.state, reason=control.reason)
        at = At(message.commit_lsn, message.commit_time, message.xid)
        block = self._control(control, at, message.ordinal)
        try:
            if self._denial:
                raise StreamUnusable(
                    self._denial,
                    hint=f"let the user of Ditto publish on {self._wildcard}, restart Ditto, and ask again",
                )
            await self._ensure_routes({self._wildcard})
        except StreamUnusable as error:
            # The live stream goes on. Without its events a run could not be found again after a restart.
            log.error("snapshot.refused", run=control.run, reason=error.message, hint=error.hint)
            refused = self.runs.refused(control.run, error.message, hint=error.hint)
            self._progress.told(refused, self.runs, message.commit_time)
            return
        self._note_control(await send(block), block)
        self.decoder.mark_selected()  # the transaction has an event
        self.changed.set()

    def _note_control(self, number: int, block: Block) -> None:
        self.controls.extend((number, each) for each in block.changes if isinstance(each, ControlEvent))

    def _control(self, control: Control, at: At, ordinal: int) -> Block:
        """The control event. Its transaction is not complete with it: others may come behind a request."""
        self._progress.told(control, self.runs, at.commit_time)
        names = ["run"] if control.table is None else [encode_token(control.schema or ""), encode_token(control.table)]
        event = ControlEvent(
            id=event_id(Position(at.commit_lsn, ordinal), self._key), snapshot=control, commit_time=at.commit_time
        )
        route = (self._subjects + ".".join(names)).encode()
        return Block([event], [route], [at.commit_lsn], [ordinal])
