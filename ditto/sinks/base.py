"""What a pipeline asks of a sink, and what commands ask that read it back: six protocols, and what passes between them.

A sink stores messages in the order in which they are given to it, and says up to which delivery number everything is
durable. It knows nothing of PostgreSQL, of the decoder's block or of the window: the pipeline numbers the deliveries
of a session from 1, and never gives more than the window has room for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from ditto.config import PipelineConfig
from ditto.decoding.change import SnapshotMark, StoredObject
from ditto.errors import SinkError
from ditto.formats.payloads import Payloads
from ditto.lsn import Checkpoint, Position, Transaction
from ditto.routing.route_limit import RouteLimit

Route: TypeAlias = bytes
"""Where an event goes, as the configuration names it: a subject, a topic; UTF-8, the same object for a whole table."""

Clock: TypeAlias = Callable[[], float]
"""Monotonic seconds."""


class PipelineId(msgspec.Struct, frozen=True):
    """The pipeline that a sink's messages belong to, and what they are filled from."""

    system_identifier: str
    """Of the database cluster, as IDENTIFY_SYSTEM gives it."""
    slot: str
    prefix: str
    """`events.prefix`."""
    start_lsn: int = 0
    """The slot's confirmed LSN when the pipeline took the sink: nothing before it was ever due. 0 until it is known."""
    timeline: int = 0
    """The server's timeline when it last stored something; 0 for unknown. A promoted standby begins a new one."""
    publication: str = ""
    """The publication that it was filled from; empty for unknown."""
    former_systems: tuple[str, ...] = ()
    """The clusters that this one was made of by pg_upgrade: the older messages' ids are theirs."""


class SinkState(NamedTuple):
    """What the sink holds already."""

    owner: PipelineId | None
    """Whose it is; None where nobody has claimed it, where it does not exist yet, and where a sink keeps no owner."""
    tail: Position | None
    """The position of the last event or checkpoint; None where there is none."""
    last: Transaction | None = None
    """The last transaction at or before the tail; None where it is not known."""
    is_proven: bool = True
    """The tail says by its id that it was written for this slot; those of earlier versions may not."""
    removal: str = ""
    """The command that removes the tail's message, where it turns out to be forged; empty where there is none."""
    mark: SnapshotMark | None = None
    """Of the tail, where that is a row of a snapshot."""
    snapshots: bytes = b""
    """What `save_snapshots` has kept; empty for nothing."""
    group: int = 0
    """Of the tail, the number of its group in its transaction; 0 for none."""

    @property
    def is_empty(self) -> bool:
        """Nobody has claimed it, and it holds nothing of Ditto's."""
        return self.owner is None and self.tail is None


class Capabilities(NamedTuple):
    """What the pipeline has to know about a kind of sink."""

    kind: str
    """The noun for it in messages: `stream`, `file`."""
    label: str
    """Which one: the stream's name, the file's path."""
    settings: str
    """The keys that would give a pipeline another one: `nats.stream and events.prefix`."""
    size_hint: str = ""
    """How to let it take larger messages."""
    max_bytes: int = 0
    """Bytes of the largest message, headers included; 0 for no limit. Known once the sink is open."""
    ack_interval: int = 1
    """Until `flush`, fewer than so many messages may stay without an acknowledgement, however long one waits."""
    keeps_tail: bool = True
    """What was sent can be found again. Without that the slot's confirmed LSN is where to begin: at least once."""
    has_headers: bool = True
    """Messages may have headers of their own."""
    route_limit: RouteLimit | None = None
    """Where routes have to be shorter than nats-server's subjects."""
    has_keys: bool = False
    """Messages have keys: without `key` in the rules of a table its primary key is given."""
    is_fenced: bool = False
    """A second or stale writer is refused by the sink itself."""
    may_be_blocked: bool = False
    """Its server may take nothing for a long time within a session: the pipeline's state says so (`Sink.blocked`)."""
    prefers_blocks: bool = False
    """Many messages at once cost it little: PostgreSQL is the slower side, and messages may gather before it."""

    @property
    def name(self) -> str:
        """What it is called in messages: `stream DITTO`."""
        return f"{self.kind} {self.label}"

    @property
    def context(self) -> dict[str, str]:
        """The same for the fields of an error or a log event."""
        return {self.kind: self.label}


class Batch(msgspec.Struct, frozen=True):
    """Messages in order, with delivery numbers from `first` on; four lists of the same length say what each is."""

    first: int
    routes: list[Route]
    commit_lsns: list[int]
    ordinals: list[int]
    payloads: Payloads
    traceparents: Mapping[int, bytes] | None
    """By index in the batch, the 55 bytes of a W3C trace context; None where no message has one.
    A sink without headers leaves them out."""
    more_follows: bool
    """More has been read already, or is about to be: the sink need not end what it keeps open (`Sink.flush`)."""
    headers: list[bytes] | None = None
    """By message, header lines of its own, each ended by CR LF; None where no message has any.
    A sink without headers says so (`Capabilities.has_headers`)."""
    keys: list[bytes | None] | None = None
    """By message, the key, by which a sink may partition or compact; None where no message has one."""
    snapshot_run: str = ""
    """Of rows of a snapshot, the run, for the header `Ditto-Snapshot`; empty for changes."""
    is_urgent: bool = True
    """Somebody waits for the acknowledgement; that of others may be told some milliseconds later."""

    @property
    def size(self) -> int:
        """How many messages."""
        return len(self.payloads.ends)


class CheckpointStore(Protocol):
    """Where a pipeline finds how far it has got, besides the messages themselves."""

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Store "everything before its LSN is stored" behind what was sent; acknowledged as delivery `number`."""

    @property
    def may_lose_tail(self) -> bool:
        """The last message may be deleted as time goes by: how far it is has to be kept beside them (`save_beside`)."""

    async def save_beside(self, checkpoint: Checkpoint) -> None:
        """Remember the same, whatever becomes of the messages; durable on return."""

    async def save_snapshots(self, control: bytes) -> None:
        """Remember the newest control event of snapshots, whatever becomes of the messages; durable on return."""

    async def save_source(self, pipeline: PipelineId) -> None:
        """Remember what the messages are filled from now on: timeline and publication."""

    async def restore(self) -> None:
        """Put back what the pipeline keeps beside the messages, where somebody has removed it. Called now and then."""


class SchemaStore(Protocol):
    """What is stored already on routes that are Ditto's own: descriptions of tables, control events of snapshots."""

    async def last_payloads(self, pattern: str) -> Mapping[str, bytes]:
        """By route, the last message that is stored, of the routes that match the pattern (`prefix._schema.>`)."""


class Entry(NamedTuple):
    """What a lease store holds."""

    revision: int
    """0 where there is nothing; a deleted entry keeps one."""
    value: bytes


class LeaseStore(Protocol):
    """Where the lease of one pipeline is kept. Every call may raise a SinkError."""

    async def read(self) -> Entry: ...

    async def write(self, value: bytes, *, after: int) -> int | None:
        """Replace the entry of that revision; the new revision, or None where there is another one by now."""

    async def remove(self, *, after: int) -> None: ...

    async def activity(self) -> int:
        """A number that grows whenever somebody stores an event: a holder that cannot renew its lease may live."""


class ObjectStore(Protocol):
    """Where events go that no message can hold."""

    async def put(self, name: str, data: memoryview) -> StoredObject:
        """Store it; durable on return. Replaces one of this name."""


class Sink(Protocol):
    """Stores events in order and says how far it has got.

    The session calls `connect`, then `inspect`; `prepare` and `claim` where it takes a new sink; then `open`, after
    which `send` and `checkpoints.save` may be called, and at the end `close`, in any case. Nothing is ever sent again:
    every fault is raised, by whichever call meets it first and in any case by `acknowledged`, and ends the session.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def checkpoints(self) -> CheckpointStore: ...

    @property
    def schemas(self) -> SchemaStore: ...

    def lease_store(self, slot: str) -> LeaseStore | None:
        """For the lease of this slot's pipeline; None where a takeover has to wait for PostgreSQL's own time-outs."""

    def object_store(self) -> ObjectStore | None:
        """For whole events where messages have a limit; None where there is none. Once it is connected."""

    @property
    def waited_s(self) -> float:
        """Seconds that `send` has waited for what was sent before."""

    @property
    def foreign_answers(self) -> int:
        """Acknowledgements that did not come from the sink's server, and were ignored."""

    @property
    def retries(self) -> int:
        """Requests that were sent again, by a sink that may do so within a session."""

    @property
    def blocked(self) -> SinkError | None:
        """Why nothing is on its way to be stored at the moment, where the sink waits for that to end within the
        session: an alarm, the time until a request is tried again. A session that is to end does not wait for it.
        """

    async def connect(self) -> None: ...

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Look, without changing anything; raises a SinkError where the sink belongs to another pipeline."""

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Create what is missing, and see that it can hold events on these routes; nobody's yet is not claimed."""

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> PipelineId | None:
        """Create what is missing, and claim it: from now on nobody takes it for a new one. Returns whose it was."""

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Find the tail, now that nobody else writes: delivery 1 comes after it."""

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """Make sure that events on these routes will be stored; `is_ahead` where none is waiting for it.

        Where this takes long, the sink may first end what it keeps open.
        """

    async def send(self, batch: Batch) -> None:
        """Take the messages: accepted, not yet durable. Raises MessageTooLarge, which names the index.

        Where it is cancelled, none of them was taken: a session that is asked to stop knows what it has sent.

        Nobody changes the payloads afterwards: the sink may keep them until they are durable.
        """

    async def flush(self) -> None:
        """End what is kept open, so that all that was sent will be acknowledged without anything more being sent."""

    async def acknowledged(self) -> int:
        """Wait until more is durable than the last call said, or than 0, and return that delivery number.

        Everything up to it is durable, checkpoints included. Raises what ends the session; may be cancelled and called
        again, by one task at a time, from `connect` on.
        """

    async def close(self) -> None: ...


class MakeSink(Protocol):
    """Makes the sink of one session, without any I/O."""

    def __call__(self, config: PipelineConfig, *, clock: Clock) -> Sink: ...


class MessageKind(Enum):
    """What a stored message is, as the place where it is stored says."""

    EVENT = auto()
    """An event, a group of events, or an application's message; or what another program has put there."""
    CONTROL = auto()
    """A control event of snapshots."""
    DESCRIPTION = auto()
    """Of a table. Its position, where it has one, is that of the message before it."""
    CHECKPOINT = auto()


class ReadMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as the sink has it."""

    number: int
    """Which one, by the sink's own count, which grows: a sequence, the offset of a line (`Reader.noun`)."""
    kind: MessageKind
    payload: bytes
    route: str = ""
    """Empty where the sink does not keep it."""
    headers: Mapping[str, str] = {}
    key: str | None = None
    position: Position | None = None
    """Of a group, that of its last event. None where the message has none, or none that can be known."""
    stored_at: float | None = None
    """Unix seconds, by the sink's clock; None where it keeps no such time."""


class Part(NamedTuple):
    """Messages that come next to each other, and how far they are in all that is to be read."""

    messages: Sequence[ReadMessage]
    done: int
    total: int
    """In the same unit as `done`: messages, bytes."""


class Start(NamedTuple):
    """Where to begin. Nothing given: at the first message, or at the end where it is waited for more."""

    since: datetime | None = None
    """With the first message stored then or later; where no such times are kept, by commit times."""
    last: int | None = None
    """So many messages before the end."""


class Held(NamedTuple):
    """What a sink holds now."""

    exists: bool
    """The place is there: the stream, the file."""
    tail: Position | None = None
    """Of the last event or checkpoint of Ditto's; None where there is none."""
    tail_time: str | None = None
    """Of its commit; of a checkpoint: of storing it. RFC 3339 in UTC; None where that would have to be looked up."""
    messages: int | None = None
    """None where that would have to be counted."""
    bytes: int | None = None


class Reader(Protocol):
    """Reads back what a sink holds, beside the pipeline, and changes nothing: for `tail`, `verify`, `wait`, `status`.

    Knows neither pipeline nor slot: whose the messages are is not looked at. `connect` comes first, except for
    `follow`, and `close` last, in any case. Every call may raise a SinkError. Both generators have to be closed.
    """

    @property
    def kind(self) -> str:
        """The noun for the sink, as in `Capabilities`."""

    @property
    def name(self) -> str:
        """What it is called in messages: `stream DITTO`."""

    @property
    def noun(self) -> str:
        """What `ReadMessage.number` counts: `message`, `line at byte`."""

    async def connect(self) -> None: ...

    async def look(self) -> Held: ...

    def read(self) -> AsyncGenerator[Part]:
        """All that there is now, from the first message to the last. Raises where some of it could not be read."""

    def follow(
        self, start: Start, *, is_endless: bool, on_lost: Callable[[SinkError], None]
    ) -> AsyncGenerator[Sequence[ReadMessage]]:
        """From there on; for ever where it is endless, else up to the message that is the last one now.

        Raises what keeps it from beginning. A loss after that is tried again, and `on_lost` called with the error.
        """

    async def read_object(self, stored: StoredObject) -> bytes | None:
        """What an event refers to (`Sink.object_store`); None where it is gone, nothing where it is not the same."""

    async def close(self) -> None: ...


class MessageTooLarge(Exception):
    """The message at `index` of a batch takes `size` bytes, headers included; more than `limit`."""

    def __init__(self, index: int, size: int, limit: int) -> None:
        super().__init__(f"message {index} takes {size} bytes, more than {limit}")
        self.index = index
        self.size = size
        self.limit = limit
