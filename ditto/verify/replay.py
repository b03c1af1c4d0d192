"""Reads a stream from its first message to its last, and keeps what the tables should hold."""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import nats.errors

from ditto.errors import AckTimeout, SinkError, SinkLost, StreamNotFound
from ditto.formats import stored_groups
from ditto.formats.own_headers import MESSAGE, OUTBOX
from ditto.formats.snapshot_events import read_control
from ditto.formats.stored_events import READ, Header, read_event
from ditto.formats.stored_groups import events_in
from ditto.lsn import ORIGIN, Position
from ditto.reader import ObjectDamaged, ObjectGone, read_object
from ditto.routing.router import checkpoint_subject, description_subjects, snapshot_subjects
from ditto.sinks.jetstream.api import Api
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.last_message import MARKER_HEADER, POSITION_HEADER
from ditto.sinks.jetstream.requests import Requests
from ditto.verify.difference import Difference
from ditto.verify.tables import TableCopy, copy_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

BATCH_MESSAGES = 4000
BATCH_BYTES = 16 * 1024 * 1024
MESSAGE_ROOM = 64 * 1024
"""Bytes of a message besides its headers and payload."""
BATCH_TIMEOUT_S = 30
_REFERENCES = (b',"object":{"bucket":"', b"\xa6object\x84\xa6bucket")
"""In JSON and in MessagePack. In the text of a value the quotation marks would be escaped; a document of type json may
look so, too."""
_KEPT_NS = 60 * 1_000_000_000
"""How long the server keeps the consumer after the last request."""
_OF_APPLICATIONS = frozenset({MESSAGE, OUTBOX})
_BATCH_ENDS = frozenset({"batch completed", "message size exceeds maxbytes"})


@dataclass(kw_only=True)
class Replay:
    """The tables by the stream, and the faults of the stream itself."""

    events: int = 0
    """Changes."""
    reads: int = 0
    """Rows that snapshots read."""
    dropped: int = 0
    """Rows that were dropped at the end of a snapshot, which had not found them."""
    open_runs: tuple[str, ...] = ()
    """The snapshots that have not ended."""
    messages: int = 0
    """Logical messages, and rows of an outbox: no table is made of them."""
    checkpoints: int = 0
    position: Position = ORIGIN
    """Of the last message."""
    tables: dict[tuple[str, str], TableCopy] = field(default_factory=dict)
    """By schema and table."""
    keys: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    """The columns by which the rows of each table were told apart."""
    stripped: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """By schema and table, the columns that events left out because of their size."""
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
    domain: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Replay:
    """Read what the stream holds now. `keys` are each table's key columns, by schema and table.

    `on_progress` gets the messages read and the messages in all. Raises StreamNotFound, and SinkLost when the server
    stops answering, AckTimeout when it does not answer in time. A fault of the stream does not raise: it is in
    `differences` of the result, and events that do not fit the earlier ones are the `faults` of their tables.
    """
    requests = client.requests if isinstance(client, Connection) else Requests(client)
    api = Api(requests, domain=domain)
    doing = f"read stream {stream}"
    try:
        info = await api.stream_info(stream, doing)
        if info is None:
            raise StreamNotFound(f"there is no stream {stream}", hint="has ditto run yet?", stream=stream)
        jetstream = client.jetstream(domain=domain)
        reader = _Reader(keys, prefix, jetstream=jetstream, last_sequence=info.state.last_seq)
        started = time.monotonic()
        if info.state.messages:
            await _read(client, api, stream, reader, lambda: on_progress(reader.messages, info.state.messages))
    except TimeoutError as error:
        raise AckTimeout(f"cannot {doing}: nats-server did not answer", hint="is it overloaded?") from error
    except nats.errors.Error as error:
        raise SinkLost(f"cannot {doing}: {str(error) or type(error).__name__}", stream=stream) from error
    reader.replay.duration_s = time.monotonic() - started
    return reader.replay


async def _read(client: Client, api: Api, stream: str, reader: _Reader, on_batch: Callable[[], None]) -> None:
    # Pull requests of our own: nats-py's fetch costs several times as much for each message.
    wanted = {
        "deliver_policy": "all",
        "ack_policy": "none",
        "mem_storage": True,
        "inactive_threshold": _KEPT_NS,
    }
    consumer = await api.create_consumer(stream, wanted, f"read stream {stream}")
    inbox = client.new_inbox()
    subscription = await client.subscribe(f"{inbox}.*", cb=reader.on_message)
    request = {
        "batch": BATCH_MESSAGES,
        # A batch has room for any one message, but no more than the server has for a client that is slow (64 MB).
        "max_bytes": max(BATCH_BYTES, client.max_payload + MESSAGE_ROOM),
        "no_wait": True,
    }
    try:
        while not reader.is_done:
            async with asyncio.timeout(BATCH_TIMEOUT_S):
                await client.publish(
                    api.next_subject(stream, consumer.name),
                    json.dumps(request).encode(),
                    reader.expect_batch(inbox),
                )
                await reader.batch
            on_batch()
    finally:
        if client.is_connected:
            with suppress(nats.errors.Error, SinkError):  # the server removes it by itself
                await subscription.unsubscribe()
                await api.delete_consumer(stream, consumer.name, "remove the consumer")


class _Reader:
    """Takes the messages of one batch after the other and applies them.

    A batch ends with its last message, or with a status of the server: what it says about a batch may come later than
    the batch's last message, when the next one has begun. So each batch has a subject of its own for its statuses.
    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md
    """

    def __init__(
        self,
        keys: Mapping[tuple[str, str], Sequence[str]],
        prefix: str,
        *,
        jetstream: JetStreamContext | None = None,
        last_sequence: int,
    ) -> None:
        self.replay = Replay(keys=keys)
        self.messages = 0
        self.is_done = False
        self._keys = keys
        self._jetstream = jetstream
        self._objects: dict[str, bytes] = {}
        """By name, those to which the events of the message refer; empty where one is not what the event says."""
        self._checkpoint_subject = checkpoint_subject(prefix)
        self._descriptions = description_subjects(prefix)
        self._snapshots = snapshot_subjects(prefix)
        self._gaps: set[tuple[str, str]] = set()
        """Tables that a snapshot reads because events were lost."""
        self._last_sequence = last_sequence
        self._batches = 0
        self._inbox = ""
        self._left = 0
        self.batch: asyncio.Future[None]

    def expect_batch(self, inbox: str) -> str:
        """Begin a batch; returns the subject for its statuses."""
        self.batch = asyncio.get_running_loop().create_future()
        self._batches += 1
        self._inbox = f"{inbox}.{self._batches}"
        self._left = BATCH_MESSAGES
        return self._inbox

    async def on_message(self, message: Msg) -> None:
        try:
            if message.reply:
                if any(each in message.data for each in _REFERENCES):
                    await self._fetch(message.data, (message.headers or {}).get)
                self._take(message)
                self._left -= 1
                is_end = self.is_done or not self._left
            else:
                is_end = self._is_end(message)
        except Exception as error:  # noqa: BLE001  # raised where the batch is awaited
            if not self.batch.done():
                self.batch.set_exception(error)
        else:
            if is_end and not self.batch.done():
                self.batch.set_result(None)

    def _is_end(self, message: Msg) -> bool:
        """Whether a status ends the batch that is expected."""
        if message.subject != self._inbox:
            return False
        headers = message.headers or {}
        status, words = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return False
        if status in {"404", "408"}:
            # Nothing is left: the last messages have been removed meanwhile.
            self.is_done = self.is_done or self._left == BATCH_MESSAGES
            return True
        if status == "409" and words.lower() in _BATCH_ENDS and self._left < BATCH_MESSAGES:
            return True
        raise SinkLost(f"the stream could not be read to its end: {status} {words or 'no consumer answers'}")

    async def _fetch(self, data: bytes, header: Header) -> None:
        """Read the objects to which the events of a message refer."""
        self._objects.clear()
        with suppress(ValueError):
            for payload in events_in(data, header):
                reference = read_event(payload, header).object
                if reference is None or self._jetstream is None:
                    continue
                with suppress(ObjectGone):
                    try:
                        read = await read_object(self._jetstream, msgspec.structs.asdict(reference))
                    except ObjectDamaged:
                        read = b""
                    self._objects[reference.name] = read

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
        if MARKER_HEADER in (message.headers or {}):
            return
        is_description = message.subject.startswith(self._descriptions)
        where = self._check_position(message, sequence, may_repeat=is_description)
        if message.subject == self._checkpoint_subject:
            self.replay.checkpoints += 1
        elif message.subject.startswith(self._snapshots):
            self._follow_snapshot(message, where)
        elif not _OF_APPLICATIONS.isdisjoint(message.headers or ()):
            self.replay.messages += 1
        elif not is_description:
            header = (message.headers or {}).get
            for payload in self._events(message, where):
                self._apply(payload, header, where, stored_ns)

    def _events(self, message: Msg, where: str) -> list[bytes]:
        """Those of a message, which may be a group."""
        headers = message.headers or {}
        try:
            found = events_in(message.data, headers.get)
        except msgspec.DecodeError:
            self._report("not an event", "", where)
            return []
        if headers.get(stored_groups.EVENTS, "1") != str(len(found)):
            self._report("a group of another size than it says", "", where)
        return found

    def _check_position(self, message: Msg, sequence: int, *, may_repeat: bool) -> str:
        """`may_repeat`: a table's description has the position of the message before it.

        The position of a group is that of its last event, and another header has the ordinal of its first.
        """
        headers = message.headers or {}
        header = headers.get(POSITION_HEADER, "")
        where = f"message {sequence} at {header or 'no position'}"
        try:
            position = Position.parse(header)
            first = position._replace(ordinal=int(headers.get(stored_groups.FIRST, position.ordinal)))
        except ValueError:
            self._report("no position", "", where)
            return where
        if first <= self.replay.position <= position and not may_repeat:
            self._report("stored twice", "", where)
        elif position < self.replay.position:
            self._report(f"out of order, after {self.replay.position}", "", where)
        self.replay.position = max(position, self.replay.position)
        return where

    def _apply(self, payload: bytes, header: Header, where: str, stored_ns: int) -> None:
        try:
            event = read_event(payload, header)
            if event.object is not None:
                whole = self._objects.get(event.object.name)
                if not whole:
                    kind = "a reference to an object that is gone" if whole is None else "a reference to another object"
                    self._report(kind, f"{event.schema}.{event.table}", where)
                    return
                event = read_event(whole, header)
            committed_at = event.committed_at()
        except ValueError:
            self._report("not an event", "", where)
            return
        if event.stripped:
            self.replay.stripped.setdefault((event.schema, event.table), set()).update(event.stripped)
        copy = self._copy(event.schema, event.table)
        copy.apply(event, self.replay.position.commit_lsn, where)
        if event.action == READ:
            self.replay.reads += 1
            return
        self.replay.events += 1
        self.replay.latencies_s.append(stored_ns / 1e9 - committed_at.timestamp())

    def _copy(self, schema: str, table: str) -> TableCopy:
        name = (schema, table)
        copy = self.replay.tables.get(name)
        if copy is None:
            copy = self.replay.tables[name] = copy_for(self._keys.get(name, ()))
        return copy

    def _follow_snapshot(self, message: Msg, where: str) -> None:
        """A control event. Only a snapshot of a whole table tells which rows it does not have."""
        control = read_control(message.data)
        if control is None:
            self._report("not an event", "", where)
            return
        self.replay.open_runs = tuple(each.run for each in control.open)
        if control.schema is None or control.table is None:
            return
        name = (control.schema, control.table)
        run = next((each for each in control.open if each.run == control.run), None)
        if control.state == "begun" and control.where is None:
            self._copy(*name).begin_snapshot(self.replay.position.commit_lsn)
            is_after_gap = run is not None and run.kind == "gap"
            (self._gaps.add if is_after_gap else self._gaps.discard)(name)
        elif control.state == "done":
            self.replay.dropped += self._copy(*name).end_snapshot(is_after_gap=name in self._gaps)

    def _report(self, kind: str, table: str, where: str) -> None:
        self.replay.differences.append(Difference(kind, table, where))
