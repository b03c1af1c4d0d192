"""The replication connection: START_REPLICATION, blocks of events in, standby status messages out."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import AsyncConnection, OperationalError
from psycopg.pq import ExecStatus
from psycopg.rows import TupleRow

from ditto.decoding.choose import Decoder
from ditto.decoding.messages import Block
from ditto.errors import ConnectionLost, PublicationMissing, SourceError
from ditto.hints import RELOAD
from ditto.lsn import format_lsn, parse_lsn
from ditto.source.command_errors import Answer, command_error
from ditto.source.connection import connect
from ditto.source.handshake import is_encrypted
from ditto.source.pace import PAUSE_AFTER_MESSAGES, Pace, pace_of
from ditto.source.socket_wait import Readable

MAX_EVENTS: Final = 256
MAX_BYTES: Final = 128 << 10
"""A block ends at the first of the two, or at the window's size; a single larger row makes a block of its own.

Small enough for what is made of it to stay in the processor's cache, and out of the way of malloc's large blocks: with
1,024 events and 4 MB an event costs 3.8 µs of CPU where it costs 2.4 so, and wide rows 15 µs where they cost 11.
"""

SILENCE_LIMIT_S: Final = 30.0
"""At least how long the server may be silent. It answers a status message at once, and one goes out every 10 s;
but while it decodes a large transaction of which nothing is published, only at half of its wal_sender_timeout."""


_TIMER_STEP_S: Final = 0.001

_UNDEFINED_OBJECT: Final = "42704"
_NOT_IN_PREREQUISITE_STATE: Final = "55000"
_STATUS: Final = struct.Struct("!cQQQqB")
_WAL_HEADER_SIZE: Final = 25
_COMMAND_TIMEOUT_S: Final = 30.0
_FINISH_TIMEOUT_S: Final = 2.0


class System(NamedTuple):
    """The answer to IDENTIFY_SYSTEM."""

    identifier: str
    timeline: int
    wal_lsn: int


class Replication:
    """One replication connection, from connect() to close(). Owned by one task, except for send_status()."""

    def __init__(
        self,
        dsn: str,
        *,
        clock: Callable[[], float],
        max_events: int,
        max_bytes: int,
        interval_style: str = "postgres",
        gathers: bool = False,
    ) -> None:
        """With `gathers` many messages at once are worth waiting for (`pace`)."""
        self._slot = ""  # the one that is read
        self._dsn = dsn
        self._interval_style = interval_style
        self._clock = clock
        self._max_events = min(max_events, MAX_EVENTS)
        self._max_bytes = min(max_bytes, MAX_BYTES)
        self._connection: AsyncConnection[TupleRow] | None = None
        self._decoder: Decoder | None = None
        self._notice: SourceError | None = None
        self._gathers = gathers
        self._pace = Pace(1, 0.0)
        self._silence_limit_s = SILENCE_LIMIT_S
        self.heard_at = -math.inf
        """When the walsender last sent something."""
        self._read_s = 0.0
        self._is_plain = False
        """Nothing on the way holds what has left the socket."""
        self._is_drained = False
        """The socket alone tells of the next message: nothing is left in what has been read."""
        self._pause_s: float | None = None
        """How long the next read is to let packets gather; None where it waits for the socket anyway."""
        self._readable: Readable

    async def connect(self) -> None:
        """Raises AccessDenied, ConnectionLost, ServerNotReady and ServerUnsuitable."""
        self._connection = await connect(self._dsn, is_replication=True, intervalstyle=self._interval_style)
        self._connection.add_notice_handler(self._on_notice)
        pgconn = self._connection.pgconn
        self._readable = Readable(pgconn.socket)
        if pgconn.parameter_status(b"server_encoding") == b"SQL_ASCII":
            # The server would stop at the first text that is not UTF-8, and not say where. So it sends what it has, and
            # the decoder names table and column.
            await self._command(
                b"SET client_encoding = 'SQL_ASCII'", doing="set client_encoding", expected=ExecStatus.COMMAND_OK
            )
        self._pace = pace_of(pgconn, gathers=self._gathers)
        self._is_plain = not is_encrypted(pgconn)

    def _on_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        # PostgreSQL 18 goes on without the publication's rows: https://www.postgresql.org/docs/18/release-18.html
        if notice.sqlstate == _NOT_IN_PREREQUISITE_STATE:
            self._notice = _publication_missing(notice.message_primary or "it is skipped")

    @property
    def _pgconn(self) -> psycopg.pq.abc.PGconn:
        if self._connection is None:
            raise ConnectionLost("the replication connection is closed")
        return self._connection.pgconn

    async def identify(self) -> System:
        """IDENTIFY_SYSTEM: https://www.postgresql.org/docs/current/protocol-replication.html."""
        result = await self._command(b"IDENTIFY_SYSTEM", doing="identify the system")
        identifier, timeline, wal_lsn = (_text(result.get_value(0, column)) for column in range(3))
        return System(identifier, int(timeline), parse_lsn(wal_lsn))

    async def switch_lsns(self, timeline: int) -> dict[int, int]:
        """By ancestor of this timeline, the LSN at which it was left; the first timeline has none, and no history."""
        if timeline == 1:
            return {}
        command = f"TIMELINE_HISTORY {timeline}".encode()
        result = await self._command(command, doing=f"read the history of timeline {timeline}")
        return parse_history(result.get_value(0, 1) or b"")

    async def start(self, slot: str, publication: str) -> None:
        """Take the slot. Raises SlotInUse while another reader holds it, SlotMissing and SlotInvalidated."""
        self._slot = slot
        quoted = publication.replace('"', '""').replace("'", "''")
        await self._command(
            f'START_REPLICATION SLOT "{slot}" LOGICAL 0/0 '
            f"(proto_version '1', publication_names '\"{quoted}\"', messages 'true')".encode(),
            doing=f"start replication from slot {slot}",
            expected=ExecStatus.COPY_BOTH,
            slot=slot,
        )

    async def wal(self, lsn: int, *, timeline: int) -> AsyncIterator[bytes]:
        """WAL from `lsn` on, in parts, as a physical standby gets it; ends where the timeline does.

        The connection is of no other use then.
        """
        await self._command(
            f"START_REPLICATION PHYSICAL {format_lsn(lsn)} TIMELINE {timeline}".encode(),
            doing=f"read the WAL at {format_lsn(lsn)}",
            expected=ExecStatus.COPY_BOTH,
        )
        pgconn = self._pgconn
        while True:
            try:
                length, data = pgconn.get_copy_data(1)
                if length < 0:
                    return
                if length:
                    if bytes(data[:1]) == b"w":
                        yield bytes(data[_WAL_HEADER_SIZE:])
                    continue
                if not await self._readable.wait(_COMMAND_TIMEOUT_S):
                    raise ConnectionLost(f"cannot read the WAL: nothing came within {_COMMAND_TIMEOUT_S:g} s")
                pgconn.consume_input()
            except OperationalError as error:
                raise ConnectionLost("the connection on which the WAL is read broke") from error

    async def set_failover(self, slot: str) -> None:
        """Let standbys keep a copy of the slot. Raises SlotInUse while another reader holds it."""
        await self._command(
            f'ALTER_REPLICATION_SLOT "{slot}" (FAILOVER true)'.encode(),
            doing=f"let slot {slot} survive a failover",
            expected=ExecStatus.COMMAND_OK,
            slot=slot,
        )

    @property
    def decoder(self) -> Decoder | None:
        """What decode_with() gave."""
        return self._decoder

    def take_read_s(self) -> float:
        """Seconds spent draining and decoding since the last call."""
        read_s, self._read_s = self._read_s, 0.0
        return read_s

    def decode_with(self, decoder: Decoder, *, wal_sender_timeout_s: float) -> None:
        """Give the decoder that read_block() is to use, and the server's wal_sender_timeout."""
        self._decoder = decoder
        self._silence_limit_s = max(SILENCE_LIMIT_S, 0.75 * wal_sender_timeout_s)

    async def read_block(self, *, waits: bool = True) -> Block:
        """Wait until the server has sent something, and drain it; without waiting the block may be empty.

        After much, packets are let gather first, where that pays; in any case other tasks run.

        Raises ConnectionLost when the connection ends or stays silent, DecodeError, and what the server says
        when it ends the COPY.
        """
        if self._decoder is None:
            raise RuntimeError("decode_with() comes first")
        if waits and self._pause_s is not None:
            await self._pause(self._pause_s)
        is_drained, self._is_drained = self._is_drained, False
        remaining_s = self._silence_limit_s
        deadline = self._clock() + remaining_s
        while True:
            if is_drained and waits and (remaining_s <= 0 or not await self._readable.wait(remaining_s)):
                raise ConnectionLost(
                    f"PostgreSQL has been silent for {self._silence_limit_s:g} s although it was asked to answer",
                    hint="the network or the server is gone; the connection is made anew",
                )
            began_at = self._clock()
            block = self._decoder.read(
                self._pgconn, max_events=self._max_events, max_bytes=self._max_bytes, enough=self._pace.enough
            )
            ended_at = self._clock()
            self._read_s += ended_at - began_at
            if self._notice is not None:
                raise self._notice
            if block.is_ended:
                raise self._ended()
            if block.frame_count:
                self.heard_at = ended_at
            if block.frame_count or not waits:
                if block.is_drained and block.frame_count < PAUSE_AFTER_MESSAGES:
                    # To read at once what a lone transaction has just left empty cost a system call and a block.
                    self._is_drained, self._pause_s = self._is_plain, None
                else:
                    self._pause_s = self._pace.pause_s if block.is_drained else 0.0
                return block
            is_drained, remaining_s = True, deadline - ended_at

    async def _pause(self, pause_s: float) -> None:
        await asyncio.sleep(0)
        if pause_s >= _TIMER_STEP_S:
            await asyncio.sleep(pause_s)
        elif pause_s:
            await asyncio.sleep(0)  # once for nats-py to hand over what is to be sent, and once for the loop to send it
            time.sleep(pause_s)  # noqa: ASYNC251  shorter than any timer of the loop; under load only

    def send_status(self, *, confirmed_lsn: int, end_lsn: int, wants_reply: bool) -> None:
        """Standby status update: `confirmed_lsn` as flushed, `end_lsn` as written and applied; 0 for unknown.

        Never blocks: what the socket does not take now goes out with the next message.
        """
        pgconn = self._pgconn
        # The server ignores the client's clock except for display.
        message = _STATUS.pack(b"r", max(end_lsn, confirmed_lsn), confirmed_lsn, end_lsn, 0, wants_reply)
        try:
            pgconn.put_copy_data(message)
            pgconn.flush()
        except OperationalError as error:
            raise ConnectionLost("the replication connection broke") from error

    async def finish(self) -> None:
        """End the COPY and wait until the server has, and with it freed the slot: the last status has arrived."""
        pgconn = self._pgconn
        try:
            pgconn.put_copy_end()
            pgconn.flush()
            async with asyncio.timeout(_FINISH_TIMEOUT_S):
                while True:
                    length, _ = pgconn.get_copy_data(1)
                    if length < 0:
                        return
                    if length == 0:
                        await self._readable.wait(_FINISH_TIMEOUT_S)
                        pgconn.consume_input()
        except (OperationalError, TimeoutError):
            pass  # closing the connection ends it too

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._readable.close()
            await connection.close()

    # ------------------------------------------------------------------------------------ internals

    async def _command(
        self, command: bytes, *, doing: str, expected: ExecStatus = ExecStatus.TUPLES_OK, **context: str
    ) -> Any:
        pgconn = self._pgconn
        try:
            pgconn.send_query(command)
            while pgconn.flush():  # noqa: ASYNC110  a command of a few bytes; it practically never loops
                await asyncio.sleep(0.01)
            while True:
                pgconn.consume_input()
                if not pgconn.is_busy():
                    break
                if not await self._readable.wait(_COMMAND_TIMEOUT_S):
                    raise ConnectionLost(f"cannot {doing}: no answer within {_COMMAND_TIMEOUT_S:g} s")
        except OperationalError as error:
            raise ConnectionLost(f"cannot {doing}: the connection to PostgreSQL broke") from error
        result = pgconn.get_result()
        if result is not None and result.status == ExecStatus.COPY_BOTH:
            return result
        while pgconn.get_result() is not None:  # the connection is ready again, also after an error
            pass
        if result is None or result.status != expected:
            raise command_error(Answer.of_result(result, pgconn), doing=doing, **context)
        return result

    def _ended(self) -> SourceError:
        """Why the server ended the COPY."""
        try:
            result = self._pgconn.get_result()
        except OperationalError:
            result = None
        if result is None or result.status in {ExecStatus.COMMAND_OK, ExecStatus.COPY_IN, ExecStatus.COPY_OUT}:
            return ConnectionLost("PostgreSQL ended the replication stream", hint="it is shutting down, or was told to")
        answer = Answer.of_result(result, self._pgconn)
        if answer.sqlstate == _UNDEFINED_OBJECT and "publication" in (answer.function or "publication").lower():
            return _publication_missing(answer.message)
        if answer.sqlstate is None:
            return ConnectionLost(f"PostgreSQL ended the replication stream: {answer.message}")
        # The slot is held: what is undefined is something else.
        context = {} if answer.sqlstate == _UNDEFINED_OBJECT else {"slot": self._slot}
        return command_error(answer, doing="go on reading the slot", **context)


def parse_history(content: bytes) -> dict[int, int]:
    """By timeline, the LSN at which the next one left it: lines of number, LSN and reason, with tabs between."""
    lines = (line.split("\t") for line in content.decode("utf-8", "replace").splitlines())
    return {int(fields[0]): parse_lsn(fields[1].strip()) for fields in lines if fields[0].strip().isdecimal()}


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")  # a message may quote text of a SQL_ASCII database


def _publication_missing(message: str) -> PublicationMissing:
    return PublicationMissing(
        f"PostgreSQL cannot find the publication where the slot stands in the WAL: {message}",
        hint="it was created after the slot, or dropped meanwhile: create the publication, then drop the slot "
        f"(ditto slot drop), {RELOAD}. Where only postgres.publication was changed, nothing need be lost: start with "
        "the former one, until a change that was made after the new one's creation is stored, and then with the new "
        "one",
    )
