"""The publisher: blocks of messages, sent in batches and each expecting the stream sequence before its own.

What was sent is stored from the front without a hole, or not at all: a batch ends at the first message that the stream
refuses. Nothing is ever sent again message by message: whatever goes wrong ends the attempt, and the next one begins
from the stream's tail.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from ditto.config import PipelineConfig
from ditto.decoding.change import Event, event_key
from ditto.decoding.messages import Block, Encoded
from ditto.errors import AckTimeout, SinkError, SinkLost
from ditto.formats.checkpoint import encode_checkpoint
from ditto.lsn import Checkpoint, Position, Transaction
from ditto.sinks.base import Holding, Owner, event_too_large, widest_column
from ditto.sinks.jetstream.batches import FLOW, Batches
from ditto.sinks.jetstream.connection import Connection, check_contract
from ditto.sinks.jetstream.frames import FrameTooLarge, frame_block
from ditto.sinks.jetstream.lease_bucket import LeaseBucket
from ditto.sinks.jetstream.message_size import largest_message
from ditto.sinks.jetstream.risks import check_usable, may_lose_tail
from ditto.sinks.jetstream.servers import close, connect, lost, usable
from ditto.sinks.jetstream.stream import Stream
from ditto.sinks.jetstream.subjects import folded

# The end of an open batch is acknowledged every FLOW messages only, or when the batch ends; and the next one has to
# wait for that, which takes 1.5 ms under load. So a batch ends where nothing more comes for the moment: at once after a
# few messages, or when it was quiet before them, unless the server lags behind; and after this time in any case.
_QUIET_S: Final = 0.002
_FEW: Final = 16

_WATCH_PERIOD_S: Final = 0.5


class JetStreamSink:
    """A sink (see `base.Sink`) that stores events in one JetStream stream.

    `on_stored` is called with the stream sequence up to which everything is acknowledged, `on_foreign_answer` for each
    answer that is not JetStream's: whoever subscribes to the events' subjects can send one. `clock` gives
    monotonic seconds.
    """

    def __init__(
        self,
        config: PipelineConfig,
        *,
        checkpoint_subject: str,
        wildcard: str | None,
        on_stored: Callable[[int], None],
        on_foreign_answer: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._config = config.nats
        self._delivery = config.delivery
        self._checkpoint_subject = checkpoint_subject
        self._wildcard = wildcard
        self._on_stored = on_stored
        self._on_foreign_answer = on_foreign_answer
        self._clock = clock
        self._client: Connection | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._pending: deque[tuple[int, int, float]] = deque()  # sequence, bytes, when sent
        self._outstanding_bytes = 0
        self.waited_s = 0.0
        """Seconds that events have waited for room in the window."""
        self._batches = Batches(stream=config.nats.stream, inbox="", name="", last_sequence=0)
        self._inbox = ""
        self._owner: Owner | None = None
        self._max_size = 0
        self._has_rollup = False
        self._sent_at = -_QUIET_S
        self._ended_at = 0.0
        self._quiet: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def sent_sequence(self) -> int:
        """The stream sequence of the last message that was sent."""
        return self._batches.sent_sequence

    @property
    def outstanding_count(self) -> int:
        """Messages sent and not yet acknowledged."""
        return self._batches.sent_sequence - self._batches.stored_sequence

    @property
    def outstanding_bytes(self) -> int:
        """The same in bytes, as they go over the wire."""
        return self._outstanding_bytes

    @property
    def max_size(self) -> int:
        """Bytes of headers and payload of the largest message that is stored."""
        return self._max_size

    # ------------------------------------------------------------------------------------ set-up

    async def connect(self) -> None:
        """Connect to a server on which JetStream answers."""
        self._failure = asyncio.get_running_loop().create_future()
        self._client = await connect(self._config, accept=partial(usable, config=self._config))
        self._client.failure.add_done_callback(self._on_lost)
        check_contract(self._client)
        self._stream = Stream(self._client, self._config, accepts_gap=self._delivery.accepts_gap)

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        error = lost.exception()
        self._fail(error if isinstance(error, SinkError) else SinkLost("the connection to NATS ended"))

    def lease_place(self, slot: str) -> LeaseBucket:
        """A key-value bucket, through the same connection: what cannot renew the lease cannot store events either."""
        return LeaseBucket(self._connected(), self._config, slot=slot, ttl_s=self._delivery.lease_ttl_s)

    async def inspect(self, claimant: Owner) -> Holding:
        """Look at the stream without changing anything."""
        return await self._stream.inspect(claimant)

    async def prepare(self, claimant: Owner, subjects: Iterable[str]) -> None:
        """Create the stream where it is missing, and see that it can hold events on these subjects."""
        stream, needed = self._stream, await self._ensure_stream(subjects)
        check_usable(stream.name, stream.config)
        stream.check_owner(claimant)
        await stream.cover(needed, self._wildcard)

    async def _ensure_stream(self, subjects: Iterable[str]) -> set[str]:
        """The subjects that it has to take."""
        stream = self._stream
        needed = {self._checkpoint_subject, *subjects}
        if not await stream.look():
            await stream.create(folded(needed, self._wildcard))
            await stream.look()
        return needed

    async def open(self, owner: Owner, subjects: Iterable[str]) -> Holding:
        """Create and claim the stream where needed, and find its tail: the chain begins after it."""
        stream, needed = self._stream, await self._ensure_stream(subjects)
        stream.check()
        stream.check_owner(owner)
        before = stream.owner
        await stream.claim(owner)
        await stream.cover(needed, self._wildcard)
        await stream.look()
        self._owner = owner
        holding = await stream.find_tail(owner)
        await self._start_chain(stream.last_sequence)
        return holding._replace(owner=before)

    async def _start_chain(self, last_sequence: int) -> None:
        client = self._connected()
        config = self._stream.config
        self._max_size = largest_message(client.max_payload, config).size
        self._has_rollup = config.allow_rollup_hdrs
        if not self._inbox:
            self._inbox = client.new_inbox()
            await client.listen(f"{self._inbox}.>", self._on_answer)
        name = secrets.token_urlsafe(9)
        self._batches = Batches(stream=self._config.stream, inbox=self._inbox, name=name, last_sequence=last_sequence)

    def _connected(self) -> Connection:
        if self._client is None:
            raise SinkLost("not connected to NATS")
        return self._client

    # ------------------------------------------------------------------------------------ publishing

    async def cover(self, subjects: Iterable[str], *, is_ahead: bool = False) -> None:
        """Add subjects to the stream where it does not take them yet."""
        if self._stream.missing_subjects(subjects):
            # The server applies an update between two messages; the chain goes on undisturbed.
            if not is_ahead:
                await self.settle()  # with many subjects it takes longer than an open batch may be idle
            await self._stream.cover(subjects, self._wildcard)

    async def last_payloads(self, pattern: str) -> dict[str, bytes]:
        """The last message on each subject that matches, as the stream's leader has it."""
        return await self._stream.reader.last_payloads(pattern)

    @property
    def may_lose_tail(self) -> bool:
        """Whether the server, or consumers, may delete the last message."""
        return self._owner is not None and may_lose_tail(self._stream.config)

    async def set_source(self, owner: Owner) -> None:
        """Remember with the stream what it is filled from now."""
        await self._stream.set_source(owner)

    async def keep_place(self, lsn: int, last: Transaction | None) -> None:
        """Remember with the stream that everything before `lsn` is stored."""
        await self._stream.keep_place(Checkpoint(lsn, last, self._batches.stored_sequence), self._claimed_by())

    async def keep_metadata(self) -> None:
        """Put back what is Ditto's in the stream's metadata, where somebody has replaced it."""
        await self._stream.keep_metadata()

    def _claimed_by(self) -> Owner:
        if self._owner is None:
            raise RuntimeError("open() comes first")
        return self._owner

    async def publish(self, block: Block, encoded: Encoded) -> None:
        """Send the block's events; waits while the window is full.

        Raises EventTooLarge, which names the event's table and position.
        """
        count = len(encoded.ends)
        was_quiet = self._clock() - self._sent_at >= _QUIET_S
        await self._wait_for_room(count, len(encoded.data))
        batches = self._batches
        is_committed = block.is_drained and self.outstanding_count < FLOW and (was_quiet or count <= _FEW)
        try:
            data, marks = frame_block(
                block.targets,
                block.commit_lsns,
                block.ordinals,
                encoded.data,
                encoded.ends,
                last_sequence=batches.sent_sequence,
                reply=batches.reply,
                first_number=batches.count + 1,
                flow=FLOW,
                is_committed=is_committed,
                max_size=self._max_size,
                traceparents=encoded.traceparents,
            )
        except FrameTooLarge as error:
            event = block.events[error.index]
            raise event_too_large(
                getattr(event, "action", "description"),
                f"{event.schema}.{event.table}",
                Position(block.commit_lsns[error.index], block.ordinals[error.index]),
                size=str(error.size),
                limit=self._max_size,
                column=widest_column(event) if isinstance(event, Event) else None,
            ) from error
        await self._send(data, marks, count, is_committed=is_committed)

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Send the message that says: everything before its LSN is stored."""
        await self._wait_for_room(1, 0)
        batches, owner = self._batches, self._claimed_by()
        headers = b"Ditto-Position: %b\r\n" % str(checkpoint.position).encode()
        if self._has_rollup:
            headers += b"Nats-Rollup: sub\r\n"
        payload = encode_checkpoint(checkpoint, event_key(owner.system_identifier, owner.slot))
        data = batches.frame(self._checkpoint_subject.encode(), headers, payload)
        await self._send(data, [(batches.sent_sequence + 1, len(data))], 1, is_committed=True)

    async def _send(
        self, data: bytes | bytearray, marks: list[tuple[int, int]], count: int, *, is_committed: bool
    ) -> None:
        if self._failure.done():
            await self._failure
        self._sent_at = self._clock()
        for sequence, size in marks:
            self._pending.append((sequence, size, self._sent_at))
        self._outstanding_bytes += len(data)
        self._batches.sent(count, is_committed=is_committed)
        if not is_committed and self._quiet is None:
            self._quiet = asyncio.get_running_loop().call_later(_QUIET_S, self._on_quiet)
        await self._connected().write(data)

    def _on_quiet(self) -> None:
        """End the batch where nothing was sent for a while; not where a full window is the reason."""
        self._quiet = None
        batches = self._batches
        if self._failure.done() or not batches.count or batches.is_committing:
            return
        remaining_s = self._sent_at + _QUIET_S - self._clock()
        if remaining_s > 0 or self.outstanding_count >= FLOW:
            self._quiet = asyncio.get_running_loop().call_later(max(remaining_s, _QUIET_S / 2), self._on_quiet)
        else:
            self._ending = asyncio.ensure_future(self._end_batch())

    async def _end_batch(self) -> None:
        """End the batch, so that all of it is acknowledged."""
        self._ended_at = self._clock()
        data = self._batches.frame_end(self._checkpoint_subject.encode())
        self._batches.sent(0, is_committed=True)
        await self._connected().write(data)

    async def _wait_for_room(self, count: int, size: int) -> None:
        """Wait until the window has room; one block always fits into an empty one."""
        delivery, batches = self._delivery, self._batches
        while batches.is_committing or (
            self._pending
            and (
                self.outstanding_count + count > delivery.max_in_flight
                or self._outstanding_bytes + size > delivery.max_in_flight_bytes
            )
        ):
            self._room.clear()
            if batches.is_committing or self.outstanding_count >= FLOW:
                began_at = self._clock()
                await self._room.wait()
                self.waited_s += self._clock() - began_at
            else:
                await self._end_batch()

    async def settle(self) -> None:
        """Wait until everything sent is acknowledged; `watch` ends it when that takes too long."""
        batches = self._batches
        while batches.count:
            self._room.clear()
            if batches.is_committing:
                await self._room.wait()
            else:
                await self._end_batch()

    # ------------------------------------------------------------------------------------ acknowledgements

    def _on_answer(self, subject: str, data: bytes, has_no_responders: bool) -> None:
        # Runs where nats-py reads, which would take what is raised here for the end of the connection.
        try:
            self._acknowledge(subject, data, has_no_responders=has_no_responders)
        except SinkError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  whatever it is ends the attempt
            self._fail(SinkError(f"cannot handle an acknowledgement: {error!r}"))

    def _acknowledge(self, subject: str, data: bytes, *, has_no_responders: bool) -> None:
        batches = self._batches
        before = batches.stored_sequence
        if not batches.answered(subject, data, has_no_responders=has_no_responders):
            self._on_foreign_answer()
            return
        stored = batches.stored_sequence
        while self._pending and self._pending[0][0] <= stored:
            self._outstanding_bytes -= self._pending.popleft()[1]
        self._room.set()
        if stored > before:
            self._on_stored(stored)

    def _fail(self, error: SinkError) -> None:
        _set_failure(self._failure, error)

    async def watch(self) -> None:
        """Runs until the connection ends, a message is rejected or an acknowledgement is late, and raises that."""
        while True:
            await asyncio.wait([self._failure], timeout=_WATCH_PERIOD_S)
            if self._failure.done():
                await self._failure
            client = self._connected()
            if client.is_closed:  # nats-py closes without saying so when the server went while data was pending
                raise lost(client)
            waits_since = self._pending[0][2] if self._pending else max(self._ended_at, self._sent_at)
            is_waiting = self._pending or self._batches.is_committing
            if is_waiting and self._clock() - waits_since > self._config.ack_timeout_s:
                sequence = self._pending[0][0] if self._pending else self.sent_sequence
                raise AckTimeout(
                    f"stream {self._config.stream} has not acknowledged sequence {sequence} within "
                    f"{self._config.ack_timeout_s:g} s",
                    hint="the server hangs, or has lost its leader",
                )

    async def close(self) -> None:
        """Close the connection. What was not acknowledged is sent again by the next attempt."""
        client, self._client = self._client, None
        if self._quiet is not None:
            self._quiet.cancel()
        if client is not None:
            self._fail(SinkLost("closed"))
            await close(client)


def _set_failure(failure: asyncio.Future[None], error: SinkError) -> None:
    if not failure.done():
        failure.set_exception(error)
        failure.exception()  # it may come after watch() is gone, during close()
