"""What the pipeline asks of a sink."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import msgspec

from ditto.config import PipelineConfig
from ditto.decoding.change import Event
from ditto.decoding.messages import Block, Encoded
from ditto.errors import EventTooLarge
from ditto.lsn import Checkpoint, Position, Transaction


class Owner(msgspec.Struct, frozen=True):
    """The pipeline that a stream belongs to, as the stream's metadata names it."""

    system_identifier: str
    slot: str
    prefix: str
    start_lsn: int
    """The slot's confirmed LSN when the pipeline took the stream: nothing before it was ever due."""
    timeline: int = 0
    """The server's timeline when it last stored something; 0 for unknown. A promoted standby begins a new one."""
    publication: str = ""
    """The publication that it was filled from; empty for unknown."""
    former_systems: tuple[str, ...] = ()
    """The clusters that this one was made of by pg_upgrade: the older messages' ids are theirs."""


class Holding(NamedTuple):
    """What the sink holds already."""

    owner: Owner | None
    """Whose stream it is; None for a stream that nobody has claimed, and where there is none yet."""
    tail: Position | None
    """The position of the last event or checkpoint; None where there is none."""
    last: Transaction | None = None
    """The last transaction at or before the tail; None where it is not known."""
    is_proven: bool = True
    """The tail says by its id that it was written for this slot; those of earlier versions may not."""
    sequence: int = 0
    """Of the tail's message; 0 where it is not known."""

    @property
    def is_empty(self) -> bool:
        """Nobody has claimed it, and it holds nothing of Ditto's."""
        return self.owner is None and self.tail is None


class Entry(NamedTuple):
    """What stands in the place of a lease."""

    revision: int
    """0 where there is nothing; a deleted entry keeps one."""
    value: bytes


def event_too_large(
    action: str, relation: str, position: Position, *, size: str, limit: int, column: str | None
) -> EventTooLarge:
    """The error that names table, position and, where it is known, the column that takes most of the event."""
    where = "" if column is None else f", most of it in the column {column}"
    return EventTooLarge(
        f"the {action} at {position} on table {relation} makes a message of {size} bytes{where}; "
        f"the server accepts {limit}",
        hint="raise max_payload of nats-server (and max_msg_size of the stream), up to the 32 MB that its file "
        "store takes; PostgreSQL keeps the change",
        relation=relation,
        position=str(position),
        **({} if column is None else {"column": column}),
    )


def widest_column(event: Event) -> str | None:
    """The column that takes most of an event, its old value counted; None where there are no values."""
    sizes: Counter[str] = Counter()
    for row in (event.data, event.data_old):
        for name, value in row.items():
            sizes[name] += len(msgspec.json.encode(value))
    return max(sizes, key=sizes.__getitem__, default=None)


class LeasePlace(Protocol):
    """Where the lease of one pipeline is kept. Every call may raise a SinkError."""

    async def read(self) -> Entry: ...

    async def write(self, value: bytes, *, after: int) -> int | None:
        """Replace the entry of that revision; the new revision, or None where there is another one by now."""

    async def remove(self, *, after: int) -> None: ...

    async def last_sequence(self) -> int:
        """The last sequence of the events' stream."""


class Sink(Protocol):
    """Stores events in order and tells how far it has got.

    The pipeline calls `connect`, `inspect`, at a first start `prepare`, then `open`, then `publish`, `cover` and
    `checkpoint` as changes come, `settle` before it ends and `close` in any case. `watch` runs beside them and raises
    what goes wrong.
    """

    @property
    def sent_sequence(self) -> int:
        """The stream sequence of the last message that was sent."""

    @property
    def outstanding_count(self) -> int:
        """Messages sent and not yet acknowledged."""

    @property
    def outstanding_bytes(self) -> int:
        """The same in bytes, as they go over the wire."""

    @property
    def waited_s(self) -> float:
        """Seconds that events have waited for room in the window."""

    @property
    def max_size(self) -> int:
        """Bytes of the largest message, known once it is open; 0 for no limit."""

    async def connect(self) -> None: ...

    def lease_place(self, slot: str) -> LeasePlace | None:
        """Where the lease of this slot's pipeline is kept; None for a sink that has no such place."""

    async def inspect(self, claimant: Owner) -> Holding:
        """Look, without changing anything; raises StreamOwned where the stream belongs to somebody else."""

    async def prepare(self, claimant: Owner, subjects: Iterable[str]) -> None:
        """Create what is missing, and see that it can hold events on these subjects; nobody's yet is not claimed."""

    async def open(self, owner: Owner, subjects: Iterable[str]) -> Holding:
        """Create what is missing, claim it for `owner`, and look again: from here on `publish` may be called."""

    async def last_payloads(self, pattern: str) -> dict[str, bytes]:
        """The last message on each subject that matches."""

    @property
    def may_lose_tail(self) -> bool:
        """The last message may be deleted as time goes by: where Ditto was has to be kept elsewhere (`keep_place`)."""

    async def set_source(self, owner: Owner) -> None:
        """Remember with the stream what it is filled from now: timeline and publication."""

    async def keep_place(self, lsn: int, last: Transaction | None) -> None:
        """Remember with the stream that everything before `lsn` is stored, whatever becomes of its messages."""

    async def cover(self, subjects: Iterable[str], *, is_ahead: bool = False) -> None:
        """Make sure that events on these subjects will be stored; `is_ahead` where none is waiting for it."""

    async def publish(self, block: Block, encoded: Encoded) -> None:
        """Send the block's events; waits while the window is full, never for acknowledgements of this block."""

    async def keep_metadata(self) -> None:
        """Put back what the pipeline keeps with the stream, where somebody has removed it."""

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Send the message that says: everything before its LSN is stored."""

    async def settle(self) -> None:
        """Wait until everything sent is acknowledged."""

    async def watch(self) -> None:
        """Runs until something goes wrong, and raises it."""

    async def close(self) -> None: ...


class MakeSink(Protocol):
    """Makes the sink of one attempt, without any I/O."""

    def __call__(
        self,
        config: PipelineConfig,
        *,
        checkpoint_subject: str,
        wildcard: str | None,
        on_stored: Callable[[int], None],
        on_foreign_answer: Callable[[], None],
        clock: Callable[[], float],
    ) -> Sink:
        """`wildcard` covers the subjects of all tables, where there is such a one; `on_stored` takes the sequence
        up to which everything is stored; `on_foreign_answer` is called for each answer to an event that does not come
        from the sink's server; `clock` gives monotonic seconds.
        """
