"""What the pipeline's parts see in their unit tests: time that passes at once, a sink, a lease store, a PostgreSQL.

Each stands for a protocol or a class of Ditto's own, and none for a server: what servers do is tested on real ones.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ditto.config import Config, Nats, PipelineConfig, Postgres
from ditto.decoding.messages import Block
from ditto.errors import SinkError, SlotInUse
from ditto.lsn import Checkpoint, format_lsn
from ditto.monitoring.counters import Counters
from ditto.pipeline.connecting import Ends
from ditto.pipeline.lease import Lease
from ditto.sinks.base import Batch, Capabilities, Entry, PipelineId, SinkState
from ditto.source.replication import Replication
from ditto.source.sql import Control

P = ParamSpec("P")
T = TypeVar("T")

# ---------------------------------------------------------------------------------------- time


class _Jump(selectors.DefaultSelector):
    """Does not wait: the time of `FakeTime` passes instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("every task waits for something that will not happen")
            self.now += timeout
        return ready


class FakeTime(asyncio.SelectorEventLoop):
    """An event loop whose time passes as soon as every task waits: a sleep of an hour takes no time."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, function: Callable[..., T], *arguments: Any
    ) -> asyncio.Future[T]:
        """At once, and not in a thread: its time would be another one."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001  it is passed on
            future.set_exception(error)
        return future


def fake_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test in fake time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=FakeTime) as runner:
            runner.run(test(*args, **kwargs))

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]  # parameters and fixtures are the test's
    del run.__wrapped__  # pytest would take it for the asynchronous one
    return run


def now() -> float:
    """The clock that goes with it."""
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let every task run as far as it gets without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


# ---------------------------------------------------------------------------------------- the lease


class FakeLeaseStore:
    """A `LeaseStore` with one entry; raises the next of `faults` where there is one."""

    def __init__(self) -> None:
        self.entry = Entry(0, b"")
        self.writes: list[tuple[float, int]] = []
        """When something was written, and after which revision."""
        self.stored = 0
        """Its sink's activity."""
        self.fault: SinkError | None = None
        """Raised by every call, `answer_s` after it."""
        self.answer_s = 0.0

    async def _answer(self) -> None:
        if self.answer_s:
            await asyncio.sleep(self.answer_s)
        if self.fault is not None:
            raise self.fault

    async def read(self) -> Entry:
        entry = self.entry
        await self._answer()
        return entry

    async def write(self, value: bytes, *, after: int) -> int | None:
        await self._answer()
        self.writes.append((now(), after))
        if after != self.entry.revision:
            return None
        self.entry = Entry(after + 1, value)
        return self.entry.revision

    async def remove(self, *, after: int) -> None:
        await self._answer()
        if after == self.entry.revision:
            self.entry = Entry(after + 1, b"")

    async def activity(self) -> int:
        await self._answer()
        return self.stored


# ---------------------------------------------------------------------------------------- the sink


EMPTY = SinkState(None, None)


class FakeSink:
    """A `Sink` that acknowledges what the test says, and raises `fault` where there is one."""

    def __init__(self, state: SinkState = EMPTY, *, max_bytes: int = 0, ack_interval: int = 1) -> None:
        self.capabilities = Capabilities(
            "stream", "S", "nats.stream and events.prefix", max_bytes=max_bytes, ack_interval=ack_interval
        )
        self.state = state
        self.calls: list[str] = []
        """The names of the calls, in order; sending and acknowledging left out."""
        self.batches: list[Batch] = []
        self.routes: list[set[str]] = []
        """What each call of `ensure_routes` asked for."""
        self.saved: list[tuple[int, Checkpoint]] = []
        self.beside: list[Checkpoint] = []
        self.sources: list[PipelineId] = []
        self.snapshots: list[bytes] = []
        self.may_lose_tail = False
        self.fault: Exception | None = None
        self.send_fault: Exception | None = None
        self.waited_s = 0.0
        self.foreign_answers = 0
        self.retries = 0
        self.blocked: SinkError | None = None
        self.is_acknowledging = False
        """Whatever is sent is acknowledged at once."""
        self.acknowledges_at_flush = True
        self._sent = 0
        self._durable = 0
        self._returned = 0
        self._news = asyncio.Event()

    @property
    def checkpoints(self) -> FakeSink:
        return self

    @property
    def schemas(self) -> FakeSink:
        return self

    def lease_store(self, slot: str) -> FakeLeaseStore | None:
        del slot
        return None

    def object_store(self) -> None:
        return None

    async def connect(self) -> None:
        self._call("connect")

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        del pipeline
        self._call("inspect")
        return self.state

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        del pipeline, routes
        self._call("prepare")

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> PipelineId | None:
        del routes
        self._call("claim")
        former = self.state.owner
        self.state = self.state._replace(owner=pipeline)
        return former

    async def open(self, pipeline: PipelineId) -> SinkState:
        del pipeline
        self._call("open")
        return self.state

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        del is_ahead
        self.routes.append(set(routes))
        self._call("ensure_routes")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fault is not None:
            raise self.fault

    async def send(self, batch: Batch) -> None:
        if self.send_fault is not None:
            raise self.send_fault
        assert batch.first == self._sent + 1
        self.batches.append(batch)
        self._take(len(batch.routes))

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        assert number == self._sent + 1
        self.saved.append((number, checkpoint))
        self._take(1)

    def _take(self, count: int) -> None:
        self._sent += count
        if self.is_acknowledging:
            self.acknowledge(self._sent)

    def acknowledge(self, number: int) -> None:
        """From now on everything up to this delivery is durable."""
        self._durable = number
        self._news.set()

    def fail(self, fault: Exception) -> None:
        """`acknowledged` raises this."""
        self.fault = fault
        self._news.set()

    async def flush(self) -> None:
        self.calls.append("flush")
        if self.acknowledges_at_flush:
            self.acknowledge(self._sent)
            await settle()

    async def acknowledged(self) -> int:
        while self._durable == self._returned and self.fault is None:
            self._news.clear()
            await self._news.wait()
        if self.fault is not None:
            raise self.fault
        self._returned = self._durable
        return self._returned

    async def save_beside(self, checkpoint: Checkpoint) -> None:
        self._call("save_beside")
        self.beside.append(checkpoint)

    async def save_snapshots(self, control: bytes) -> None:
        self.snapshots.append(control)

    async def save_source(self, pipeline: PipelineId) -> None:
        self.sources.append(pipeline)

    async def restore(self) -> None:
        self._call("restore")

    async def last_payloads(self, pattern: str) -> Mapping[str, bytes]:
        del pattern
        return {}

    async def close(self) -> None:
        self._call("close")


# ---------------------------------------------------------------------------------------- PostgreSQL


class FakeControl(Control):
    """Answers the queries of a test by what they are for: `answers` has the first words of `doing`."""

    def __init__(self, answers: Mapping[str, Callable[[Sequence[Any]], list[dict[str, Any]]]] | None = None) -> None:
        self.answers = dict(answers or {})
        self.asked: list[str] = []
        self.lsn = 0
        """The server's WAL position."""
        self.is_in_recovery = False
        self.has_late_counts = False
        """As before PostgreSQL 15: statistics are half a second late."""

    @property
    def version(self) -> int:
        return 170000

    @property
    def has_late_statistics(self) -> bool:
        return self.has_late_counts

    async def fetch(
        self,
        query: str,
        arguments: Sequence[Any] = (),
        *,
        doing: str,
        timeout_s: float | None = None,
        context: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        del query, timeout_s, context
        self.asked.append(doing)
        await asyncio.sleep(0)
        for words, answer in self.answers.items():
            if doing.startswith(words):
                return answer(arguments)
        raise AssertionError(f"no answer to: {doing}")

    async def wal_lsn(self) -> int:
        return self.lsn

    async def is_standby(self) -> bool:
        return self.is_in_recovery


class FakeSlot(FakeControl):
    """The slot `s`, which walsender holds it, and the publication `p` with its tables."""

    def __init__(self, *, confirmed_lsn: int = 0x100) -> None:
        super().__init__(
            {
                "look up slot": lambda _: [{"slot": self.row()}] if self.exists else [],
                "see who holds": lambda _: [{"pid": self.holder, "application": "ditto", "user": None}],
                "end the walsender": self._end,
                "stand by": lambda _: [],
                "say who stands by": lambda _: [],
                "create slot": self._create,
                "look up publication": lambda _: [self.publication],
                "list the tables of publication": lambda _: [
                    {"schema": schema, "name": name} for schema, name in self.published
                ],
                "look up array types": lambda _: [],
            }
        )
        self.exists = True
        self.transactions = 0
        """Read from the slot so far, as PostgreSQL counts."""
        self.published = [("public", "t")]
        self.publication: dict[str, Any] = {
            "insert": True,
            "update": True,
            "delete": True,
            "truncate": True,
            "is_via_root": False,
            "is_open": False,
            "members": [],
            "limits": [],
        }
        self.holder: int | None = None
        self.confirmed_lsn = confirmed_lsn
        self.ended: list[int] = []
        self.end_fault: Exception | None = None

    def row(self) -> dict[str, Any]:
        return {
            "plugin": "pgoutput",
            "slot_type": "logical",
            "database": "d",
            "active_pid": self.holder,
            "confirmed_flush_lsn": format_lsn(self.confirmed_lsn),
            "restart_lsn": format_lsn(self.confirmed_lsn),
            "wal_lsn": format_lsn(self.lsn),
            "wal_status": "reserved",
            "total_txns": self.transactions,
            "is_standby": False,
        }

    def _create(self, arguments: Sequence[Any]) -> list[dict[str, Any]]:
        del arguments
        self.exists = True
        return []

    def _end(self, arguments: Sequence[Any]) -> list[dict[str, Any]]:
        if self.end_fault is not None:
            raise self.end_fault
        _, pid = arguments
        if self.holder != pid:
            return []
        self.ended.append(pid)
        self.holder = None
        return [{"pg_terminate_backend": True}]


class FakeReplication(Replication):
    """The replication connection of walsender `pid`; `blocks` are what it brings."""

    def __init__(self, slot: FakeSlot | None = None, *, pid: int = 1) -> None:
        self._fake_slot = slot
        self._pid = pid
        self.switches: dict[int, int] = {}
        """By timeline, the LSN at which it was left."""
        self.blocks: deque[Any] = deque()
        """Blocks, and errors to be raised."""
        self.statuses: list[tuple[float, int, int, bool]] = []
        """When, what was confirmed, where the last stored commit record ends, and whether an answer was asked for."""
        self.is_failover = False
        self.is_finished = False
        self.fault: Exception | None = None
        self._decoder = None
        self._more = asyncio.Event()

    async def set_failover(self, slot: str) -> None:
        del slot
        self.is_failover = True

    async def start(self, slot: str, publication: str) -> None:
        del publication
        assert self._fake_slot is not None
        if self._fake_slot.holder is not None:
            raise SlotInUse(f"slot {slot} is held", slot=slot)
        self._fake_slot.holder = self._pid

    def bring(self, *blocks: Any) -> None:
        self.blocks.extend(blocks)
        self._more.set()

    async def read_block(self, *, waits: bool = True) -> Any:
        if not self.blocks and not waits:
            return Block([], [], [], [])
        if waits:
            await asyncio.sleep(0)  # after a full block the other tasks run
        while not self.blocks:
            self._more.clear()
            await self._more.wait()
        block = self.blocks.popleft()
        if isinstance(block, Exception):
            raise block
        return block

    async def switch_lsns(self, timeline: int) -> dict[int, int]:
        del timeline
        return self.switches

    def decode_with(self, decoder: Any, *, wal_sender_timeout_s: float) -> None:
        del wal_sender_timeout_s
        self._decoder = decoder

    def take_read_s(self) -> float:
        return 0.0

    def send_status(self, *, confirmed_lsn: int, end_lsn: int, wants_reply: bool) -> None:
        if self.fault is not None:
            raise self.fault
        self.statuses.append((now(), confirmed_lsn, end_lsn, wants_reply))

    @property
    def confirmed(self) -> list[int]:
        """What was confirmed, without repetitions."""
        lsns = [lsn for _, lsn, _, _ in self.statuses]
        return [lsn for index, lsn in enumerate(lsns) if index == 0 or lsns[index - 1] != lsn]

    async def finish(self) -> None:
        self.is_finished = True


PIPELINE = PipelineId("7", "s", "ditto", timeline=1, publication="p")


def make_ends(
    slot: FakeSlot,
    sink: FakeSink,
    *,
    source: FakeReplication | None = None,
    config: PipelineConfig | None = None,
    counters: Counters | None = None,
    lease_store: FakeLeaseStore | None = None,
    pipeline: PipelineId = PIPELINE,
) -> Ends:
    """Both ends, as `connect` returns them."""
    counters = counters or Counters()
    return Ends(
        config=config or Config(postgres=Postgres(dsn="", slot="s", publication="p"), nats=Nats()),
        clock=now,
        counters=counters,
        control=slot,
        source=source or FakeReplication(slot),
        sink=sink,
        lease=Lease(lease_store, ttl_s=9.0, slot="s", clock=now, counters=counters),
        database="d",
        pipeline=pipeline,
        wal_sender_timeout_s=60.0,
    )
