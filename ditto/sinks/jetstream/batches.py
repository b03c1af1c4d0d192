"""Fast-ingest batches: what is sent in them, and what the server's answers say is stored. No I/O.

A batch stores its messages as they come, in order, and ends at the first that it cannot store: nothing after that
one gets in, whatever it expects. https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from ditto.errors import ChainBroken, NotNow, SinkError
from ditto.sinks.jetstream.api_errors import UNKNOWN_BATCH, WRONG_LAST_SEQUENCE, Fault, refusal
from ditto.sinks.jetstream.pure_frames import OP_COMMIT, OP_COMMIT_ONLY

FLOW: Final = 256
"""Every so many messages of a batch the server acknowledges: the window opens in steps of this."""
FLOW_BYTES: Final = 1 << 20
"""A batch that begins with large messages is acknowledged after about so many bytes: 256 groups of 500 events would be
more than a window may hold, and each time that is full the batch would have to end, and the next one to wait for it."""


class _Ack(Struct, tag="ack"):
    """The batch is stored up to this message of it."""

    seq: int
    msgs: int


class _Gap(Struct, tag="gap"):
    """A message has not come."""

    seq: int
    last_seq: int


class _Err(Struct, tag="err"):
    """A message could not be stored."""

    seq: int
    error: Fault


class _End(Struct):
    """The batch has ended, with so many messages; `seq` is the stream's sequence of the last one."""

    stream: str
    seq: int
    batch: str
    count: int
    type: str | None = None
    error: Fault | None = None


_END_BEGINS: Final = b'{"stream":'
_end: Final = msgspec.json.Decoder(_End)


class _Kind(Struct):
    """What tells the answers apart; one with an error and no type is the refusal of the whole batch."""

    type: str | None = None
    error: Fault | None = None


_kind: Final = msgspec.json.Decoder(_Kind)
_typed: Final[msgspec.json.Decoder[_Ack | _Gap | _Err]] = msgspec.json.Decoder(_Ack | _Gap | _Err)


def read_answer(data: bytes) -> _Ack | _Gap | _Err | _End | Fault | None:
    """An answer of JetStream to a message of a batch; None for what others send who listen on the message's subject."""
    try:
        if data.startswith(_END_BEGINS):  # the commonest where transactions come one by one: read once
            end = _end.decode(data)
            if end.type is None and end.error is None:
                return end
        kind = _kind.decode(data)
        if kind.type is not None:
            return _typed.decode(data)
        return kind.error or _end.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Batches:
    """The batches of one session, one after the other. The next begins only when the one before is stored completely.

    `inbox` is where the answers go, and `name` what all batches of this session are called; nobody else's may be
    called so. `last_sequence` is the stream's.
    """

    def __init__(self, *, stream: str, inbox: str, name: str, last_sequence: int) -> None:
        self._stream = stream
        self._inbox = inbox
        self._name = name
        self._number = 0
        self._stream_bytes, self._name_bytes = stream.encode(), name.encode()
        self._reply_begins = f"{inbox}.{name}".encode()
        self._base_sequence = last_sequence
        self.flow = FLOW
        """Every so many messages of the current batch the server acknowledges."""
        self.reply = b""
        """What comes before the number in the reply subjects of the current batch."""
        self.count = 0
        """Messages sent in the current batch."""
        self.is_committing = False
        """Its end has been sent: nothing may be sent until the answer has come."""
        self.sent_sequence = last_sequence
        """The stream sequence of the last message that was sent."""
        self.stored_sequence = last_sequence
        """The stream sequence up to which everything is acknowledged."""
        self._begin()

    def _begin(self) -> None:
        self._number += 1
        self.flow = FLOW
        self.reply = b"%b%d.%d.fail." % (self._reply_begins, self._number, FLOW)
        self.count = 0
        self.is_committing = False

    def fit(self, count: int, size: int) -> None:
        """So many messages of so many bytes are about to begin the batch."""
        flow = max(1, min(FLOW, FLOW_BYTES * count // max(1, size)))
        if flow != self.flow:
            self.flow = flow
            self.reply = b"%b%d.%d.fail." % (self._reply_begins, self._number, flow)

    @property
    def _token(self) -> str:
        """What the current batch is called."""
        return f"{self._name}{self._number}"

    def sent(self, count: int, *, is_committed: bool) -> None:
        """Note that so many more messages were sent, the last of which ends the batch, or does not."""
        self.count += count
        self.sent_sequence += count
        self.is_committing = is_committed

    def frame(self, subject: bytes, headers: bytes, payload: bytes) -> bytes:
        """One message that ends the batch, the first one or not."""
        head = b"NATS/1.0\r\nNats-Expected-Last-Sequence: %d\r\n%b\r\n" % (self.sent_sequence, headers)
        return b"HPUB %b %b%d.%b.$FI %d %d\r\n%b%b\r\n" % (
            subject,
            self.reply,
            self.count + 1,
            OP_COMMIT,
            len(head),
            len(head) + len(payload),
            head,
            payload,
        )

    def frame_end(self, subject: bytes) -> bytes:
        """What ends the batch without storing anything more. `subject` is any of the stream's."""
        return b"PUB %b %b%d.%b.$FI 0\r\n\r\n" % (subject, self.reply, self.count + 1, OP_COMMIT_ONLY)

    def expected(self, subscription: int) -> bytes:
        """The answer to the end that has just been sent, as nats-server writes it to this subscription."""
        body = b'{"stream":"%b","seq":%d,"batch":"%b%d","count":%d}' % (
            self._stream_bytes,
            self.sent_sequence,
            self._name_bytes,
            self._number,
            self.count,
        )
        return b"MSG %b%d.%b.$FI %d %d\r\n%b\r\n" % (self.reply, self.count, OP_COMMIT, subscription, len(body), body)

    def ended(self) -> None:
        """That answer has come."""
        self._base_sequence = self.stored_sequence = self.sent_sequence
        self._begin()

    def answered(self, subject: str, data: bytes, *, has_no_responders: bool) -> bool:
        """Take an answer that came to this subject; returns False for one that is not JetStream's.

        `has_no_responders`: it is the server's word that nobody takes the message. Raises ChainBroken, NotNow,
        PublishRejected and others.
        """
        if subject.removeprefix(self._inbox).split(".")[1:2] != [self._token]:
            # To a batch that is stored completely: too late to matter, whatever it says.
            return has_no_responders or read_answer(data) is not None
        if has_no_responders:
            raise NotNow(f"no stream answers for {self._stream}", hint="it was deleted, or has no leader at the moment")
        answer = read_answer(data)
        match answer:
            case _Ack():
                self._store(answer.seq)
            case _End() if answer.batch == self._token:
                self._end(answer)
            case _Gap():
                raise ChainBroken(f"stream {self._stream} has not got every message (gap at {answer.seq})")
            case _Err():
                raise self._rejection(answer.error)
            case Fault():
                raise self._rejection(answer)
            case _:
                return False
        return True

    def _store(self, number: int) -> None:
        if number > self.count:
            raise ChainBroken(f"stream {self._stream} acknowledged message {number} of {self.count} in a batch")
        self.stored_sequence = max(self.stored_sequence, self._base_sequence + number)

    def _end(self, answer: _End) -> None:
        """The batch has ended: as it should, or early."""
        if not self.is_committing or answer.count != self.count:
            raise ChainBroken(
                f"stream {self._stream} ended a batch after {answer.count} of {self.count} messages",
                hint="its leader has changed: the tail is read again",
            )
        if answer.seq != self.sent_sequence:
            raise ChainBroken(
                f"stream {self._stream} acknowledged sequence {answer.seq} where {self.sent_sequence} was expected",
                hint="does another stream take the same subjects?",
            )
        self._base_sequence = self.stored_sequence = answer.seq
        self._begin()

    def _rejection(self, error: Fault) -> SinkError:
        code, description = error.err_code, error.description
        doing = f"store events in stream {self._stream}"
        if code in WRONG_LAST_SEQUENCE:
            if description.rpartition(" ")[2] == str(self.stored_sequence):
                # Nobody's message follows the last one of which it is known that it is stored: one was dropped.
                return NotNow(
                    f"cannot {doing}: nats-server could not write what follows sequence {self.stored_sequence}",
                    hint="its disk is full or failing (see its log); when there is room, it has to be restarted",
                )
            return ChainBroken(
                f"cannot {doing}: {description}",
                hint="something else was stored in between, or a message before it could not be written (see the log "
                "of nats-server): the tail is read again",
            )
        if code == UNKNOWN_BATCH:
            return ChainBroken(
                f"cannot {doing}: the server does not know the batch any more",
                hint="its leader has changed, or nothing was sent for ten seconds in the middle of a batch: the tail "
                "is read again",
            )
        return refusal(error, doing, stream=self._stream)
