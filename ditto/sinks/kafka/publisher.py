"""Stores batches in transactions, each with a record of how far it is: both are there, or neither.

Messages are handed to librdkafka as they come, which sends them in the background. A transaction ends when nothing more
is about to come, when somebody waits, or when it is large or old enough; that takes the broker some milliseconds, in
which a thread waits for it. What comes meanwhile waits here, and is the next transaction: at a low rate each block is
one, under load they are as large as they need to be. The pipeline's window bounds how much waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException

from ditto.errors import SinkError, SinkLost
from ditto.sinks.base import Batch, Clock, PipelineId
from ditto.sinks.kafka.client_errors import error_of, is_fencing, translate
from ditto.sinks.kafka.messages import check_sizes, last_place, produce
from ditto.sinks.kafka.stored_state import checkpoint_key, record_of_checkpoint, record_of_event
from ditto.sinks.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ditto.lsn import Checkpoint, Position
    from ditto.sinks.io_thread import IoThread
    from ditto.sinks.kafka.topics import Topics

MOST_MESSAGES: Final = 4000
"""Of a transaction, but for its last batch."""
_MOST_BYTES: Final = 8 << 20
_OLDEST_S: Final = 0.05
_ABORT_TIMEOUT_S: Final = 2.0
_FOLLOWING: Final = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._FATAL})
"""What becomes of messages because of something else."""


class Publisher:
    """The transactions of one session. `acknowledged` may be awaited from the beginning on."""

    def __init__(self, topics: Topics, *, timeout_s: float, clock: Clock) -> None:
        self._topics = topics
        self._timeout_s = timeout_s
        self._clock = clock
        self._producer: Any = None
        self._thread: IoThread
        self._pipeline: PipelineId
        self._max_bytes = 0
        self._waiting: list[Callable[[], None]] = []  # what is to be handed over once the transaction has ended
        self._is_open = False  # a transaction is
        self._is_committing = False
        self._is_due = False
        self._messages = 0
        self._bytes = 0
        self._number = 0
        self._place: tuple[Position, bytes, bytes] | bytes | None = None  # of the last event; or the record itself
        self._records: dict[bytes, bytes] = {}  # for Ditto's own topic, by key
        self._storing: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._progress = Progress()
        self._undelivered: tuple[KafkaError, str] | None = None
        self._fatal: KafkaError | None = None
        self._down: KafkaError | None = None

    def on_delivery(self, error: KafkaError | None, message: Any) -> None:
        """Librdkafka's report of a message that could not be stored. Runs in whichever thread asks it."""
        if error is not None and error.code() not in _FOLLOWING and self._undelivered is None:
            self._undelivered = (error, message.topic())

    def on_error(self, error: KafkaError) -> None:
        """Librdkafka's report of what concerns no message."""
        if error.fatal() or is_fencing(error):
            self._fatal = self._fatal or error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down = error

    @property
    def blocked(self) -> SinkError | None:
        """No broker can be reached since the last transaction that was stored: librdkafka goes on trying."""
        return None if self._down is None else translate(self._down, "store events", self._topics.access)

    def begin(self, producer: Any, thread: IoThread, pipeline: PipelineId) -> None:
        """From now on messages can be sent. `producer` has initialised its transactions."""
        self._producer, self._thread, self._pipeline = producer, thread, pipeline

    def set_limit(self, max_bytes: int) -> None:
        """Of the largest message, with key and headers."""
        self._max_bytes = max_bytes

    # ------------------------------------------------------------------------------------ taking

    def send(self, batch: Batch) -> None:
        """Take all messages. Raises MessageTooLarge, and then none is taken."""
        self._progress.check()
        check_sizes(batch, self._max_bytes)
        self._take(partial(self._hand_over, batch), is_due=not batch.more_follows)

    def checkpoint(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Take a record without messages."""
        self._progress.check()
        record = record_of_checkpoint(checkpoint, self._pipeline)

        def place() -> None:
            self._place, self._number = record, number

        self._take(place, is_due=True)

    def keep(self, key: bytes, value: bytes) -> None:
        """Store a record in Ditto's own topic with the next transaction."""
        self._records[key] = value

    async def store(self, key: bytes, value: bytes) -> None:
        """The same at once; durable on return."""
        self._progress.check()
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def keep() -> None:
            self.keep(key, value)
            self._storing.append(stored)

        self._take(keep, is_due=True)
        await stored

    def flush(self) -> None:
        """End the transaction that is open, and the one that begins with what waits."""
        self._progress.check()
        self._is_due = True
        self._go_on()

    def _take(self, hand_over: Callable[[], None], *, is_due: bool) -> None:
        self._is_due = is_due or self._is_due
        if self._is_committing:
            self._waiting.append(hand_over)
            return
        self._begin()
        hand_over()
        self._go_on()

    def _begin(self) -> None:
        if self._producer is None:
            raise RuntimeError("open() comes first")
        if not self._is_open:
            self._call(self._producer.begin_transaction, "begin a transaction")
            self._is_open = True
            self._timer = asyncio.get_running_loop().call_later(_OLDEST_S, self._on_time)

    def _hand_over(self, batch: Batch) -> None:
        self._call(partial(produce, batch, self._topics, self._producer.produce), "send events")
        self._place = last_place(batch, self._topics) or self._place
        self._messages += batch.size
        self._bytes += len(batch.payloads.data)
        self._number = batch.first + batch.size - 1

    # ------------------------------------------------------------------------------------ the end of a transaction

    def _on_time(self) -> None:
        self._timer = None
        if self._is_open and not self._is_committing and self._progress.failure is None:
            self._is_due = True
            self._go_on()

    def _go_on(self) -> None:
        """End the transaction where it is to end."""
        if self._is_committing or not self._is_open:
            self._is_due = self._is_due and bool(self._waiting)
            return
        if not self._is_due and self._messages < MOST_MESSAGES and self._bytes < _MOST_BYTES:
            self._producer.poll(0)
            return
        self._is_due, self._is_committing = False, True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._call(self._put_records, "send a checkpoint")
        number, storing = self._number, self._storing
        self._storing, self._messages, self._bytes = [], 0, 0
        ending = self._thread.run(partial(self._producer.commit_transaction, self._timeout_s))
        ending.add_done_callback(partial(self._on_ended, number, storing))

    def _put_records(self) -> None:
        put, topics, place = self._producer.produce, self._topics, self._place
        records, self._records, self._place = self._records, {}, None
        for key, value in records.items():
            put(topics.own, value, key, 0)
        if place is not None:
            record = place if isinstance(place, bytes) else record_of_event(*place, self._pipeline)
            put(topics.checkpoints, record, checkpoint_key(self._pipeline), 0)

    def _on_ended(self, number: int, storing: Sequence[asyncio.Future[None]], ended: asyncio.Future[None]) -> None:
        exception = ended.exception()
        if exception is not None:
            # Also where nobody knows whether it was committed: the next session reads the record.
            _refuse(storing, self.fail(self._reason(exception, "commit a transaction")))
            return
        self._is_open = self._is_committing = False
        self._down = None
        self._progress.move(number)
        for each in storing:
            if not each.done():
                each.set_result(None)
        if self._progress.failure is None:
            waiting, self._waiting = self._waiting, []
            try:
                for hand_over in waiting:
                    self._begin()
                    hand_over()
                self._go_on()
            except SinkError:
                pass  # `fail` has taken it

    # ------------------------------------------------------------------------------------ faults

    def _call(self, do: Callable[[], object], doing: str) -> None:
        try:
            do()
        except (KafkaException, BufferError) as exception:
            self.fail(self._reason(exception, doing))
            self._progress.check()
        except SinkError as error:
            self.fail(error)
            raise

    def _reason(self, exception: BaseException, doing: str) -> BaseException:
        """The error that says most: a message that was refused is why its transaction cannot be committed."""
        if isinstance(exception, BufferError):
            return SinkLost(f"cannot {doing}: librdkafka's queue is full", hint="Ditto tries again by itself")
        if not isinstance(exception, KafkaException):
            return exception
        error = error_of(exception)
        if self._fatal is not None and not is_fencing(error):
            return translate(self._fatal, doing, self._topics.access, operation="Write")
        if self._undelivered is not None and not is_fencing(error):
            refused, topic = self._undelivered
            doing = f"store events in topic {topic}"
            return translate(refused, doing, self._topics.access, operation="Write", topic=topic)
        return translate(error, doing, self._topics.access, operation="Write")

    def fail(self, error: BaseException) -> BaseException:
        """End the session; returns the error that it ends with."""
        first = self._progress.fail(error)
        self._waiting.clear()
        _refuse(self._storing, first)
        self._storing = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return first

    async def acknowledged(self) -> int:
        """See `base.Sink`."""
        return await self._progress.acknowledged()

    def give_up(self) -> None:
        """Where no broker is there, let the thread not wait for one. From another thread, which purging allows."""
        if self._down is not None and self._producer is not None:
            self._producer.purge(blocking=False)

    def release(self) -> None:
        """Abort what is open, so that nobody waits for it, and give up the producer. Blocks: in the thread."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            if self._is_open and self._fatal is None and self._down is None:
                producer.abort_transaction(_ABORT_TIMEOUT_S)
        except KafkaException:
            pass  # the next session's producer does it
        producer.purge()


def _refuse(storing: Sequence[asyncio.Future[None]], error: BaseException) -> None:
    for each in storing:
        if not each.done():
            each.set_exception(error)
