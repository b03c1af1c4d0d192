"""Sends batches and records in order, and counts up to which delivery number everything is stored.

Events go to one stream, and records of how far the pipeline is to another one. A record says something about events,
so that it is sent when these are stored; what is behind it is acknowledged when it is stored, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ditto.errors import SinkError
from ditto.sinks.base import Batch, MessageTooLarge
from ditto.sinks.progress import Progress
from ditto.sinks.rabbitmq.amqp import message, messages
from ditto.sinks.rabbitmq.stored_state import Record, encode_record, place_of_checkpoint

if TYPE_CHECKING:
    from ditto.lsn import Checkpoint
    from ditto.sinks.base import PipelineId
    from ditto.sinks.event_place import EventPlace
    from ditto.sinks.rabbitmq.writer import Writer


class _Sent:
    """A batch: its last delivery number, and the publishing id of that message."""

    __slots__ = ("identifier", "number")

    def __init__(self, number: int, identifier: int) -> None:
        self.number = number
        self.identifier = identifier


class _Save:
    """A record that is to be stored behind what was sent before; `number` is its delivery number, 0 for none."""

    __slots__ = ("done", "identifier", "number", "owner", "place")

    def __init__(self, number: int, place: EventPlace | None, owner: PipelineId | None) -> None:
        self.number = number
        self.place = place
        self.owner = owner
        self.identifier = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Publisher:
    """Of one session; `progress` has how far it is."""

    def __init__(self, progress: Progress, *, record_route: bytes, controls: str) -> None:
        self._record_route = record_route
        self._controls = controls.encode()
        self._events: Writer | None = None
        self._own: Writer | None = None
        self._record = Record()
        self._offset_of_first = 0
        self._max_bytes = 0
        self._pending: deque[_Sent | _Save] = deque()
        self._sent_controls: deque[tuple[int, bytes]] = deque()
        self._progress = progress

    def begin(self, events: Writer, own: Writer, *, record: Record, max_bytes: int) -> None:
        """From now on batches can be sent. `record` is as of the mark of `events`, at its offset."""
        self._events, self._own, self._record, self._max_bytes = events, own, record, max_bytes
        self._offset_of_first = record.offset

    @property
    def owner(self) -> PipelineId | None:
        """As the record has it."""
        return self._record.owner

    # ------------------------------------------------------------------------------------ taking

    def send(self, batch: Batch) -> None:
        """Take all messages. Raises MessageTooLarge, and then none is taken."""
        self._progress.check()
        if self._events is None:
            raise RuntimeError("open() comes first")
        encoded = messages(batch)
        if max(map(len, encoded), default=0) > self._max_bytes:
            for index, each in enumerate(encoded):
                if len(each) > self._max_bytes:
                    raise MessageTooLarge(index, len(each), self._max_bytes)
        first = self._events.last_id + 1
        last = self._events.publish(encoded)
        self._pending.append(_Sent(batch.first + batch.size - 1, last))
        for route in {route for route in batch.routes if route.startswith(self._controls)}:
            self._keep_controls(batch, route, first)

    def _keep_controls(self, batch: Batch, wanted: bytes, first: int) -> None:
        payloads = batch.payloads
        start = 0
        for index, (route, end) in enumerate(zip(batch.routes, payloads.ends, strict=True)):
            if route == wanted:
                self._sent_controls.append((first + index, bytes(payloads.data[start:end])))
            start = end + payloads.gap

    def checkpoint(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Take a record."""
        self._save(number, place_of_checkpoint(checkpoint), None)

    async def store(self, *, checkpoint: Checkpoint | None = None, owner: PipelineId | None = None) -> None:
        """Store a record of what is stored by now; durable on return."""
        place = None if checkpoint is None else place_of_checkpoint(checkpoint)
        await self._save(0, place, owner).done

    def _save(self, number: int, place: EventPlace | None, owner: PipelineId | None) -> _Save:
        self._progress.check()
        saving = _Save(number, place, owner)
        self._pending.append(saving)
        self.advance()
        return saving

    # ------------------------------------------------------------------------------------ how far it is

    def advance(self) -> None:
        """One of the streams has more than before."""
        events, own, pending = self._events, self._own, self._pending
        if events is None or own is None:
            return
        try:
            while pending and self._progress.failure is None:
                head = pending[0]
                if isinstance(head, _Sent):
                    left = head.identifier - events.stored
                    self._acknowledge(head.number - max(0, left))
                    if left > 0:
                        return
                else:
                    if not head.identifier:
                        head.identifier = own.publish([self._next_record(head, events.stored - events.mark.session)])
                    if own.stored < head.identifier:
                        return
                    self._acknowledge(head.number)
                    if not head.done.done():
                        head.done.set_result(None)
                pending.popleft()
        except SinkError as error:
            self.fail(error)

    def _next_record(self, saving: _Save, count: int) -> bytes:
        """`count` messages of this session are stored. Others' may be between them: the offset may be too small, never
        too large.
        """
        record, controls = self._record, self._sent_controls
        control = record.control
        while controls and controls[0][0] <= (self._events.stored if self._events is not None else 0):
            control = controls.popleft()[1].decode()
        place = record.place
        if saving.place is not None and (place is None or saving.place.position > place.position):
            place = saving.place
        # The last event itself is read again: it says more than a checkpoint.
        offset = self._offset_of_first + count
        self._record = replace(
            record, owner=saving.owner or record.owner, place=place, offset=max(record.offset, offset), control=control
        )
        return message(self._record_route, [], encode_record(self._record))

    def _acknowledge(self, number: int) -> None:
        if number > self._progress.durable:
            self._progress.move(number)

    # ------------------------------------------------------------------------------------ faults

    def fail(self, error: SinkError) -> None:
        """End the session: the first error counts."""
        failure = self._progress.fail(error)
        for each in self._pending:
            if isinstance(each, _Save) and not each.done.done():
                each.done.set_exception(failure)
                each.done.exception()  # also where nobody waits for it
