"""The publisher: messages sent in batches, each expecting the stream sequence before its own.

What was sent is stored from the front without a hole, or not at all: a batch ends at the first message that the stream
refuses. Nothing is ever sent again message by message: every fault ends the session, and the next one begins from the
stream's tail.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from ditto.errors import AckTimeout, SinkError, SinkLost
from ditto.sinks.base import Batch, MessageTooLarge
from ditto.sinks.jetstream.batches import FLOW, Batches
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.frames import FrameTooLarge, frame_block
from ditto.sinks.jetstream.key_headers import with_keys
from ditto.sinks.jetstream.late_read import LateRead
from ditto.sinks.jetstream.servers import lost

log = structlog.get_logger()

# The end of an open batch is acknowledged every FLOW messages only, or when the batch ends; and the next one has to
# wait for that, which takes 1.5 ms under load. So a batch ends where nothing more comes for the moment: at once after a
# few messages, or when it was quiet before them, unless the server lags behind; and after this time in any case.
_QUIET_S: Final = 0.002
_MORE_S: Final = 0.02
"""The same where more is about to come, and nobody waits: rows of a snapshot are made and read in turn."""
_FEW: Final = 16

_MOST_ACKS: Final = 8
"""A batch that would be acknowledged more often within one block is not gone on with."""

_LOOK_PERIOD_S: Final = 0.5


class Publisher:
    """The chain of messages of one session. `clock` gives monotonic seconds.

    Delivery number n is the message with the stream sequence `base + n`.
    """

    def __init__(
        self, connection: Connection, *, stream: str, ack_timeout_s: float, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._ack_timeout_s = ack_timeout_s
        self._clock = clock
        self._batches = Batches(stream=stream, inbox="", name="", last_sequence=0)
        self._base_sequence = 0
        self._any_subject = b""
        self._subscription = 0
        self._max_size = 0
        self._failure: Exception | None = None
        self._news: asyncio.Future[None] | None = None
        self._returned = 0
        self._room: asyncio.Event | None = None  # there while somebody waits for the end of the batch
        self._unstored: deque[tuple[int, float]] = deque()  # of each batch: the sequence of its last message, when sent
        self._sent_at = -_QUIET_S
        self._patience_s = _QUIET_S  # how long the open batch is left open behind what was sent last
        self._ended_at = 0.0
        self._quiet: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._late = LateRead(on_period=self._wake)
        self.waited_s = 0.0
        """Seconds that messages have waited for the end of the batch before theirs."""
        self.foreign_answers = 0
        """Answers that are not JetStream's: any subscriber to the events' subjects can send one."""
        connection.failure.add_done_callback(self._on_lost)
        self._look_again()

    def _on_lost(self, ended: asyncio.Future[None]) -> None:
        error = ended.exception()
        self._fail(error if isinstance(error, SinkError) else SinkLost("the connection to NATS ended"))

    async def begin(self, last_sequence: int, *, max_size: int, any_subject: str) -> None:
        """The chain begins after this stream sequence. `any_subject` is one that the stream takes."""
        inbox = self._connection.new_inbox()
        self._subscription = await self._connection.listen(f"{inbox}.>", self._on_answer)
        self._late.use(self._connection.plain_transport)
        self._any_subject = any_subject.encode()
        self._max_size = max_size
        self._base_sequence = last_sequence
        name = secrets.token_urlsafe(9)
        self._batches = Batches(stream=self._stream, inbox=inbox, name=name, last_sequence=last_sequence)

    @property
    def stored_sequence(self) -> int:
        """The stream sequence up to which everything is acknowledged."""
        return self._batches.stored_sequence

    @property
    def ack_interval(self) -> int:
        """Fewer messages than these may stay without an acknowledgement until the batch ends."""
        return self._batches.flow

    @property
    def _outstanding(self) -> int:
        return self._batches.sent_sequence - self._batches.stored_sequence

    # ------------------------------------------------------------------------------------ sending

    async def send(self, batch: Batch) -> None:
        """Send the messages: all of them or, where it is cancelled, none. Raises MessageTooLarge."""
        count, batches = len(batch.routes), self._batches
        now = self._clock()
        was_quiet = now - self._sent_at >= _QUIET_S
        if batches.is_committing:
            self._late.read()
        if is_behind := batches.is_committing:
            await self._wait_for_end()
            now = self._clock()
        if batches.count and batches.flow < FLOW and count >= _MOST_ACKS * batches.flow:
            # Large messages have begun it, and these are small.
            await self.settle()
            now = self._clock()
        if not batches.count:
            batches.fit(count, len(batch.payloads.data))
        is_committed = not batch.more_follows and (was_quiet or count <= _FEW) and self._outstanding < batches.flow
        try:
            data = frame_block(
                batch.routes,
                batch.commit_lsns,
                batch.ordinals,
                batch.payloads.data,
                batch.payloads.ends,
                gap=batch.payloads.gap,
                last_sequence=batches.sent_sequence,
                reply=batches.reply,
                first_number=batches.count + 1,
                is_committed=is_committed,
                max_size=self._max_size,
                traceparents=batch.traceparents,
                headers=b"Ditto-Snapshot: %b\r\n" % batch.snapshot_run.encode() if batch.snapshot_run else b"",
                own_headers=batch.headers if batch.keys is None else with_keys(batch.headers, batch.keys),
            )
        except FrameTooLarge as error:
            raise MessageTooLarge(error.index, error.size, self._max_size) from error
        self._patience_s = _MORE_S if batch.more_follows and not batch.is_urgent else _QUIET_S
        self._write(data, batch.first, count, now=now, is_committed=is_committed)
        if is_committed and (shortcut := self._connection.shortcut) is not None:
            shortcut.expect(batches.expected(self._subscription), self._on_end)
        # Where the next batch comes soon and nobody waits, the answer is read then. At 1,000 transactions a second 0.93
        # of the CPU time is left without a wake-up for it, 0.88 where the confirmation, too, comes once in 5 ms, and
        # 0.82 once in 10 ms.
        if is_committed and not (is_behind or batch.is_urgent) and (self._late.is_on or not was_quiet):
            self._late.begin()
        else:
            self._late.end()

    async def send_last(self, subject: str, headers: bytes, payload: bytes, *, number: int) -> None:
        """Send one message that ends its batch: nothing that is sent later is needed for its acknowledgement."""
        self._late.end()
        if self._batches.is_committing:
            await self._wait_for_end()
        frame = self._batches.frame(subject.encode(), headers, payload)
        self._write(frame, number, 1, now=self._clock(), is_committed=True)

    def flush(self) -> None:
        """End the open batch, so that all of it is acknowledged."""
        self._late.end()
        batches = self._batches
        if batches.count and not batches.is_committing:
            self._ended_at = self._clock()
            data = batches.frame_end(self._any_subject)
            batches.sent(0, is_committed=True)
            self._connection.write(data)

    async def settle(self) -> None:
        """Wait until everything that was sent is stored, and no batch is open."""
        while self._batches.count:
            if not self._batches.is_committing:
                self.flush()
            await self._wait_for_end()

    def _write(self, data: bytes | bytearray, number: int, count: int, *, now: float, is_committed: bool) -> None:
        if self._failure is not None:
            raise self._failure
        if self._base_sequence + number != self._batches.sent_sequence + 1:
            raise RuntimeError(f"delivery {number} does not follow the last one")
        self._sent_at = now
        self._batches.sent(count, is_committed=is_committed)
        self._unstored.append((self._batches.sent_sequence, now))
        if not is_committed and self._quiet is None:
            self._quiet = asyncio.get_running_loop().call_later(_QUIET_S, self._on_quiet)
        self._connection.write(data)

    async def _wait_for_end(self) -> None:
        """Wait until the batch whose end was sent is acknowledged."""
        self._late.end()
        began_at = self._clock()
        while self._batches.is_committing:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()
        self.waited_s += self._clock() - began_at

    def _on_quiet(self) -> None:
        """End the batch where nothing was sent for a while; not where a full window is the reason."""
        self._quiet = None
        batches = self._batches
        if self._failure is not None or not batches.count or batches.is_committing:
            return
        remaining_s = self._sent_at + self._patience_s - self._clock()
        if remaining_s > 0 or self._outstanding >= batches.flow:
            self._quiet = asyncio.get_running_loop().call_later(
                _QUIET_S if remaining_s > _QUIET_S else max(remaining_s, _QUIET_S / 2), self._on_quiet
            )
        else:
            self.flush()

    # ------------------------------------------------------------------------------------ acknowledgements

    async def acknowledged(self) -> int:
        """Wait until more is stored than the last call said, and return that delivery number.

        Raises what ended the connection, why a message was refused, and AckTimeout.
        """
        while True:
            number = self._batches.stored_sequence - self._base_sequence
            if number > self._returned:
                self._returned = number
                return number
            if self._failure is not None:
                raise self._failure
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    def _on_answer(self, subject: str, data: bytes, has_no_responders: bool) -> None:
        # Runs where nats-py reads, which would take what is raised here for the end of the connection.
        batches = self._batches
        try:
            is_ours = batches.answered(subject, data, has_no_responders=has_no_responders)
        except Exception as error:  # noqa: BLE001  each one ends the session, a fault of Ditto's as what it is
            self._fail(error)
            return
        if not is_ours:
            self._note_foreign()
            return
        self._note_stored()

    def _on_end(self) -> None:
        """The answer that `send` expects has come."""
        self._batches.ended()
        self._note_stored()

    def _note_stored(self) -> None:
        batches = self._batches
        while self._unstored and self._unstored[0][0] <= batches.stored_sequence:
            self._unstored.popleft()
        if self._room is not None:
            self._room.set()
            self._room = None
        if not self._late.is_on:
            self._wake()

    def _note_foreign(self) -> None:
        self.foreign_answers += 1
        if self.foreign_answers == 1:
            log.warning(
                "events.answered",
                reason="an answer to an event did not come from JetStream; Ditto ignores such answers",
                hint="somebody subscribes to the events' subjects and replies to what comes: let it read the stream "
                "through a consumer, or not reply; nats.inbox_prefix and permissions keep others from answering",
            )

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._wake()

    def _look_again(self) -> None:
        self._look = asyncio.get_running_loop().call_later(_LOOK_PERIOD_S, self._check_alive)

    def _check_alive(self) -> None:
        """See, twice a second, that the connection lives and that no acknowledgement is late."""
        if self._connection.is_closed:  # nats-py closes without saying so when the server went while data was pending
            self._fail(lost(self._connection))
        waits_since = self._unstored[0][1] if self._unstored else max(self._ended_at, self._sent_at)
        is_waiting = self._unstored or self._batches.is_committing
        if is_waiting and self._clock() - waits_since > self._ack_timeout_s:
            sequence = self._batches.stored_sequence + 1 if self._unstored else self._batches.sent_sequence
            self._fail(
                AckTimeout(
                    f"stream {self._stream} has not acknowledged sequence {sequence} within {self._ack_timeout_s:g} s",
                    hint="the server hangs, or has lost its leader",
                )
            )
        if self._failure is None:
            self._look_again()

    def close(self) -> None:
        """Stop the timers; who waits gets an error."""
        for timer in (self._quiet, self._look):
            if timer is not None:
                timer.cancel()
        self._late.close()
        self._fail(SinkLost("closed"))
