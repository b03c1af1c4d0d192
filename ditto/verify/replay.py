"""Reads a stream from its first message to its last, and keeps what the tables should hold."""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ditto import shallow
from ditto.errors import SinkLost, StreamNotFound
from ditto.lsn import ORIGIN, Position
from ditto.verify.difference import Difference
from ditto.verify.tables import StoredEvent, TableCopy, copy_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

BATCH_MESSAGES = 4000
BATCH_BYTES = 16 * 1024 * 1024
MESSAGE_ROOM = 64 * 1024
"""What a message has around its headers and payload."""
BATCH_TIMEOUT_S = 30

_event = msgspec.json.Decoder(StoredEvent)


@dataclass(kw_only=True)
class Replay:
    """What a stream says about its tables, and what is wrong with the stream itself."""

    events: int = 0
    checkpoints: int = 0
    position: Position = ORIGIN
    """Of the last message."""
    tables: dict[tuple[str, str], TableCopy] = field(default_factory=dict)
    """By schema and table."""
    differences: list[Difference] = field(default_factory=list)
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    """From commit to stored, one for each event, by the two servers' clocks."""
    duration_s: float = 0.0
    """How long the reading took."""

    def latency_s(self, percent: float) -> float:
        """The latency that `percent` of the events did not exceed; 0 without events."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0


async def replay(
    client: Client,
    stream: str,
    *,
    keys: Mapping[tuple[str, str], Sequence[str]],
    prefix: str = "ditto",
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Replay:
    """Read what the stream holds now. `keys` are each table's key columns, by schema and table.

    `on_progress` is told messages read and messages in all. Raises StreamNotFound, and SinkLost when the server
    stops answering. What is wrong in the stream does not raise: it is in `differences` of the answer.
    """
    jetstream = client.jetstream()
    try:
        info = await jetstream.stream_info(stream)
    except nats.js.errors.NotFoundError as error:
        raise StreamNotFound(f"there is no stream {stream}", hint="has ditto run yet?", stream=stream) from error
    reader = _Reader(keys, prefix, last_sequence=info.state.last_seq)
    started = time.monotonic()
    if info.state.messages:
        await _read(client, jetstream, stream, reader, lambda: on_progress(reader.messages, info.state.messages))
    reader.replay.duration_s = time.monotonic() - started
    return reader.replay


async def _read(
    client: Client, jetstream: JetStreamContext, stream: str, reader: _Reader, on_batch: Callable[[], None]
) -> None:
    # Pull requests of our own: nats-py's fetch costs several times as much for each message.
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=60
    )
    consumer = await jetstream.add_consumer(stream, config)
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=reader.on_message)
    request = {
        "batch": BATCH_MESSAGES,
        # A batch has room for any one message, but no more than the server has for a client that is slow (64 MB).
        "max_bytes": max(BATCH_BYTES, client.max_payload + MESSAGE_ROOM),
        "expires": BATCH_TIMEOUT_S * 1_000_000_000,
    }
    try:
        while not reader.is_done:
            reader.expect_batch()
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer.name}", json.dumps(request).encode(), inbox
            )
            async with asyncio.timeout(BATCH_TIMEOUT_S + 5):
                await reader.batch
            on_batch()
    except (TimeoutError, nats.errors.Error) as error:
        raise SinkLost("the stream stopped answering while it was read", stream=stream) from error
    finally:
        if client.is_connected:
            await subscription.unsubscribe()
            await jetstream.delete_consumer(stream, consumer.name)


class _Reader:
    """Takes the messages of one consumer after the other and applies them."""

    def __init__(self, keys: Mapping[tuple[str, str], Sequence[str]], prefix: str, *, last_sequence: int) -> None:
        self.replay = Replay()
        self.messages = 0
        self.is_done = False
        self._keys = keys
        self._checkpoint_subject = f"{prefix}._checkpoint"
        self._descriptions = f"{prefix}._schema."
        self._last_sequence = last_sequence
        self._expected = 0

    def expect_batch(self) -> None:
        self.batch: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected = BATCH_MESSAGES

    async def on_message(self, message: Msg) -> None:
        if self.batch.done():
            return
        try:
            is_status = not message.reply
            if not is_status:
                self._take(message)
                self._expected -= 1
            if is_status or self.is_done or not self._expected:
                self.batch.set_result(None)
        except Exception as error:  # noqa: BLE001  # whoever waits for the batch gets it
            self.batch.set_exception(error)

    def _take(self, message: Msg) -> None:
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<ns>.<pending>, or after
        # $JS.ACK also the domain and the account.
        parts = message.reply.split(".")
        sequence, consumer_sequence, stored_ns, pending = map(int, parts[5:9] if len(parts) == 9 else parts[7:11])
        self.messages += 1
        if consumer_sequence != self.messages:
            raise SinkLost("messages were lost between the server and the check", sequence=sequence)
        # Pending tells the end where the last messages have been removed meanwhile.
        self.is_done = sequence >= self._last_sequence or not pending
        is_description = message.subject.startswith(self._descriptions)
        where = self._check_position(message, sequence, may_repeat=is_description)
        if message.subject == self._checkpoint_subject:
            self.replay.checkpoints += 1
        elif not is_description:
            self._apply(message, where, stored_ns)

    def _check_position(self, message: Msg, sequence: int, *, may_repeat: bool) -> str:
        """`may_repeat`: a table's description has the position of the message before it."""
        header = (message.headers or {}).get("Ditto-Position", "")
        where = f"message {sequence} at {header or 'no position'}"
        try:
            position = Position.parse(header)
        except ValueError:
            self._report("no position", "", where)
            return where
        if position == self.replay.position and not may_repeat:
            self._report("stored twice", "", where)
        elif position < self.replay.position:
            self._report(f"out of order, after {self.replay.position}", "", where)
        self.replay.position = max(position, self.replay.position)
        return where

    def _apply(self, message: Msg, where: str, stored_ns: int) -> None:
        try:
            event = shallow.decode(message.data, _event)
        except msgspec.MsgspecError:
            self._report("not an event", "", where)
            return
        name = (event.schema, event.table)
        copy = self.replay.tables.get(name)
        if copy is None:
            copy = self.replay.tables[name] = copy_for(self._keys.get(name, ()))
        fault = copy.apply(event)
        if fault:
            self._report(fault, ".".join(name), where)
        self.replay.events += 1
        self.replay.latencies_s.append(stored_ns / 1e9 - event.commit_time.timestamp())

    def _report(self, kind: str, table: str, where: str) -> None:
        self.replay.differences.append(Difference(kind, table, where))
