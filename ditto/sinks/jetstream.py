"""The chain publisher: blocks of messages, each of which expects the stream sequence before its own.

One positive acknowledgement for sequence N proves that everything up to N is stored, and after a rejection
every later message is rejected too, so that no hole can appear. Nothing is ever retried message by message:
whatever goes wrong ends the attempt, and the next one begins from the stream's tail.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from ditto.config import Nats
from ditto.errors import AckTimeout, ChainBroken, EventTooLarge, NoJetStream, NotNow, SinkError, SinkLost
from ditto.frames import FrameTooLarge, frame_block
from ditto.lsn import Position, format_lsn
from ditto.messages import Block, Encoded
from ditto.sinks.base import Holding, Owner
from ditto.sinks.bucket import LeaseBucket, is_about_leases
from ditto.sinks.stream import ApiError, Stream, refusal
from ditto.sinks.wire import BlockWriter, connect, describe, has_jetstream, lost

REPLY_EVERY: Final = 256
"""At least every so many messages one asks for an acknowledgement: the window opens in steps of this."""
_WATCH_PERIOD_S: Final = 0.5
_CLOSE_TIMEOUT_S: Final = 2.0
_WRONG_LAST_SEQUENCE: Final = {10071, 10164}


class _Ack(msgspec.Struct):
    """The fields of a PubAck that matter."""

    seq: int = 0
    error: dict[str, Any] | None = None


class JetStreamSink:
    """A sink (see `base.Sink`) that stores events in one JetStream stream.

    `on_stored` is called with the stream sequence up to which everything is acknowledged. `clock` gives
    monotonic seconds.
    """

    def __init__(
        self,
        config: Nats,
        *,
        checkpoint_subject: str,
        wildcard: str | None,
        on_stored: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._checkpoint_subject = checkpoint_subject
        self._wildcard = wildcard
        self._on_stored = on_stored
        self._clock = clock
        self._client: Client | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._pending: deque[tuple[int, int, float]] = deque()  # sequence, bytes, when sent
        self._acked_sequence = 0
        self._outstanding_bytes = 0
        self._is_first = True
        self._reply = b""
        self._max_size = 0
        self._sent_sequence = 0

    @property
    def sent_sequence(self) -> int:
        """The stream sequence of the last message that was sent."""
        return self._sent_sequence

    @property
    def outstanding_count(self) -> int:
        """Messages sent and not yet acknowledged."""
        return self._sent_sequence - self._acked_sequence

    # ------------------------------------------------------------------------------------ set-up

    async def connect(self) -> None:
        """Connect to a server of the cluster on which JetStream answers, beginning with any of them.

        A server that is cut off from the others takes connections all the same, and may not know yet that it is:
        the next attempt must not end there again and again.
        """
        servers = self._config.servers
        first = random.randrange(len(servers))  # noqa: S311  no secret
        failures: list[SinkError] = []
        for server in servers[first:] + servers[:first]:
            try:
                await self._connect_to(msgspec.structs.replace(self._config, url=server))
            except SinkError as error:
                if not error.is_retryable:
                    raise
                failures.append(error)
                await self.close()
            else:
                return
        last = failures[-1]
        words = "; ".join(dict.fromkeys(error.message for error in failures))
        raise type(last)(words, hint=last.hint, **last.context) from last

    async def _connect_to(self, config: Nats) -> None:
        self._failure = asyncio.get_running_loop().create_future()
        self._client = await connect(config, on_lost=partial(_set_failure, self._failure), may_lack=is_about_leases)
        self._writer = BlockWriter(self._client)
        self._stream = Stream(self._client, self._config)
        if not has_jetstream(self._client):
            raise NoJetStream(
                f"nats-server at {describe(config)} runs without JetStream",
                hint="start it with JetStream (nats-server -js, or a jetstream block in its configuration)",
            )
        await self._stream.check_account()

    def lease_place(self, slot: str) -> LeaseBucket:
        """A key-value bucket, through the same connection: what cannot renew the lease cannot store events either."""
        return LeaseBucket(self._connected(), self._config, slot=slot)

    async def inspect(self, claimant: Owner) -> Holding:
        """Look at the stream without changing anything."""
        return await self._stream.inspect(claimant)

    async def open(self, owner: Owner, subjects: Iterable[str]) -> Holding:
        """Create and claim the stream where needed, and find its tail: the chain begins after it."""
        stream = self._stream
        needed = {self._checkpoint_subject, *subjects}
        if not await stream.look():
            covered = {self._wildcard} | stream_subjects_outside(self._wildcard, needed) if self._wildcard else needed
            await stream.create(covered)
            await stream.look()
        stream.check()
        stream.check_owner(owner)
        before = stream.owner
        await stream.claim(owner)
        await stream.cover(needed)
        await stream.look()
        tail = await stream.find_tail()
        await self._start_chain(stream.last_sequence)
        return Holding(before, tail)

    async def _start_chain(self, last_sequence: int) -> None:
        client = self._connected()
        limits = [client.max_payload, self._stream.settings.get("max_msg_size", -1)]
        self._max_size = min(limit for limit in limits if limit > 0)
        self._has_rollup = bool(self._stream.settings.get("allow_rollup_hdrs"))
        if not self._reply:
            inbox = client.new_inbox()
            await client.subscribe(inbox, cb=self._on_reply, pending_bytes_limit=0)
            self._reply = inbox.encode()
        self._sent_sequence = self._acked_sequence = last_sequence
        self._is_first = True

    def _connected(self) -> Client:
        if self._client is None:
            raise SinkLost("not connected to NATS")
        return self._client

    # ------------------------------------------------------------------------------------ publishing

    async def cover(self, subjects: Iterable[str]) -> None:
        """Add subjects to the stream where it does not take them yet."""
        if self._stream.missing_subjects(subjects):
            # The server applies an update between two messages; the chain goes on undisturbed.
            await self._stream.cover(subjects)

    async def set_timeline(self, timeline: int) -> None:
        """Remember the server's new timeline with the stream."""
        await self._stream.set_timeline(timeline)

    async def publish(self, block: Block, encoded: Encoded) -> None:
        """Send the block's events; waits while the window is full.

        Raises EventTooLarge, which names the event's table and position.
        """
        count = len(encoded.ends)
        await self._wait_for_room(count, len(encoded.data))
        try:
            data, marks = frame_block(
                block.targets,
                block.commit_lsns,
                block.ordinals,
                encoded.data,
                encoded.ends,
                last_sequence=self._sent_sequence,
                reply=self._reply,
                reply_every=REPLY_EVERY,
                # A rejected message without a reply is silent, and all that later ones say is that the chain is
                # broken. The next attempt begins with that very message, and so learns the reason.
                is_first_answered=self._is_first,
                max_size=self._max_size,
            )
        except FrameTooLarge as error:
            event = block.events[error.index]
            position = Position(block.commit_lsns[error.index], block.ordinals[error.index])
            raise EventTooLarge(
                f"the {event.action} at {position} on table {event.schema}.{event.table} makes a message of "
                f"{error.size} bytes; the server accepts {self._max_size}",
                hint="raise max_payload of nats-server (and max_msg_size of the stream); PostgreSQL keeps the change",
                relation=f"{event.schema}.{event.table}",
                position=str(position),
            ) from error
        await self._send(data, marks, count)

    async def checkpoint(self, lsn: int) -> None:
        """Send the message that says: everything before `lsn` is stored."""
        rollup = b"Nats-Rollup: sub\r\n" if self._has_rollup else b""
        header = b"NATS/1.0\r\nNats-Expected-Last-Sequence: %d\r\nDitto-Position: %b:0\r\n%b\r\n" % (
            self._sent_sequence,
            format_lsn(lsn).encode(),
            rollup,
        )
        payload = b'{"lsn":"%b"}' % format_lsn(lsn).encode()
        data = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
            self._checkpoint_subject.encode(),
            self._reply,
            len(header),
            len(header) + len(payload),
            header,
            payload,
        )
        await self._send(data, [(self._sent_sequence + 1, len(data))], 1)

    async def _send(self, data: bytes | bytearray, marks: list[tuple[int, int]], count: int) -> None:
        if self._failure.done():
            await self._failure
        now = self._clock()
        for sequence, size in marks:
            self._pending.append((sequence, size, now))
        self._outstanding_bytes += len(data)
        self._sent_sequence += count
        self._is_first = False
        await self._writer.write(data)

    async def _wait_for_room(self, count: int, size: int) -> None:
        """Wait until the window has room; one block always fits into an empty one."""
        config = self._config
        while self._pending and (
            self.outstanding_count + count > config.max_in_flight
            or self._outstanding_bytes + size > config.max_in_flight_bytes
        ):
            self._room.clear()
            await self._room.wait()

    async def settle(self) -> None:
        """Wait until everything sent is acknowledged; `watch` ends it when that takes too long."""
        while self._pending:
            self._room.clear()
            await self._room.wait()

    # ------------------------------------------------------------------------------------ acknowledgements

    async def _on_reply(self, message: Msg) -> None:
        # Runs in a task of nats-py, which would swallow what is raised here.
        try:
            self._acknowledge(message)
        except SinkError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  whatever it is ends the attempt
            self._fail(SinkError(f"cannot handle an acknowledgement: {error!r}"))

    def _acknowledge(self, message: Msg) -> None:
        name = self._config.stream
        if not message.data:
            status = (message.headers or {}).get("Status", "no status")
            raise NotNow(
                f"no stream answers for {name} (status {status})",
                hint="the stream was deleted or has no leader at the moment",
            )
        try:
            ack = msgspec.json.decode(message.data, type=_Ack)
        except msgspec.MsgspecError as error:
            raise SinkError(f"an acknowledgement that is not one: {error}") from error
        if ack.error is not None:
            raise self._rejection(ack.error)
        if not self._pending or self._pending[0][0] != ack.seq:
            expected = self._pending[0][0] if self._pending else "nothing"
            raise ChainBroken(
                f"stream {name} acknowledged sequence {ack.seq} where {expected} was expected",
                hint="does another stream take the same subjects?",
            )
        _, size, _ = self._pending.popleft()
        self._outstanding_bytes -= size
        self._acked_sequence = ack.seq
        self._room.set()
        self._on_stored(ack.seq)

    def _rejection(self, error: dict[str, Any]) -> SinkError:
        code, description = error.get("err_code", 0), error.get("description", "unknown error")
        doing = f"store events in stream {self._config.stream}"
        if code in _WRONG_LAST_SEQUENCE:
            return ChainBroken(
                f"cannot {doing}: {description}",
                hint="something else was stored in between, or a message before it was refused, or could not be "
                "written (see the log of nats-server): the tail is read again",
            )
        return refusal(ApiError(error, doing), doing)

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
                raise lost(self._config, client.last_error)
            if self._pending and self._clock() - self._pending[0][2] > self._config.ack_timeout_s:
                raise AckTimeout(
                    f"stream {self._config.stream} has not acknowledged sequence {self._pending[0][0]} within "
                    f"{self._config.ack_timeout_s:g} s",
                    hint="the server hangs, or has lost its leader",
                )

    async def close(self) -> None:
        """Close the connection. What was not acknowledged is sent again by the next attempt."""
        client, self._client = self._client, None
        if client is not None:
            self._fail(SinkLost("closed"))
            # A connection that broke may break again while it is closed.
            with suppress(Exception):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await client.close()


def _set_failure(failure: asyncio.Future[None], error: SinkError) -> None:
    if not failure.done():
        failure.set_exception(error)
        failure.exception()  # it may come after watch() is gone, during close()


def stream_subjects_outside(wildcard: str | None, subjects: Iterable[str]) -> set[str]:
    """Those subjects that the wildcard `prefix.>` does not cover: mapped topics, mostly."""
    if wildcard is None:
        return set(subjects)
    prefix = wildcard.removesuffix(">")
    return {subject for subject in subjects if not subject.startswith(prefix)}
