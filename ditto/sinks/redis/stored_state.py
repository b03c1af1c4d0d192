"""What Ditto keeps beside the streams, in one hash: whose they are, where they end, who writes to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ditto.decoding.change import SnapshotMark
from ditto.errors import StreamUnusable
from ditto.formats.own_headers import pairs
from ditto.lsn import Checkpoint, Position, Transaction
from ditto.sinks import owner as owners
from ditto.sinks.base import PipelineId, SinkState
from ditto.sinks.event_place import EventPlace, place_of

KIND: Final = "keyspace"
"""The noun in messages: the keys of one pipeline."""


class Keys(NamedTuple):
    """Ditto's own keys of one pipeline."""

    state: str
    """A hash: `owner`, `tail`, `snapshots`, and for fencing `epoch` and `writer`."""
    own: str
    """A hash: by stream of Ditto's own (descriptions, control events), its last payload."""
    streams: str
    """A set: the keys of all streams."""

    @property
    def label(self) -> str:
        """What the keyspace is called."""
        return self.state.removesuffix(":checkpoint")


def keys_of(key_prefix: str, events_prefix: str) -> Keys:
    """Two pipelines with the same `events.prefix` would share streams: the second one is refused."""
    beginning = f"{key_prefix}ditto:{events_prefix}"
    return Keys(f"{beginning}:checkpoint", f"{beginning}:last", f"{beginning}:streams")


class _Last(msgspec.Struct, rename="camel", omit_defaults=True):
    lsn: int
    commit_time: str
    xid: int | None = None


class _Tail(msgspec.Struct, omit_defaults=True):
    id: str
    last: _Last | None = None
    mark: SnapshotMark | None = None
    group: int = 0
    stream: str = ""
    """Where the entry is of which only the id is known; empty for none."""


_encode: Final = msgspec.json.Encoder().encode
_decode_tail: Final = msgspec.json.Decoder(_Tail).decode


def entry_id(position: Position) -> str:
    """The id of an entry in a stream: the position in decimal."""
    return f"{position.commit_lsn}-{position.ordinal}"


def read_id(identifier: bytes) -> Position:
    """The position that the id of an entry is."""
    lsn, _, ordinal = identifier.partition(b"-")
    return Position(int(lsn), int(ordinal))


def tail_of_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The tail that a checkpoint makes."""
    return _tail(EventPlace(checkpoint.position, checkpoint.last))


def tail_of_event(position: Position, payload: memoryview, headers: bytes) -> bytes:
    """The tail that an event makes: what the next session has to know of it."""
    return _tail(place_of(position, bytes(payload), pairs(headers)))


def tail_of_entry(identifier: bytes, fields: Sequence[bytes]) -> bytes:
    """The same of an entry, as the server gives it."""
    named = {name.decode(): value for name, value in zip(fields[::2], fields[1::2], strict=True)}
    payload = named.pop("data", b"")
    headers = {name: value.decode(errors="replace") for name, value in named.items()}
    return _tail(place_of(read_id(identifier), payload, headers))


def _tail(place: EventPlace) -> bytes:
    last = place.last
    return _encode(
        _Tail(
            entry_id(place.position),
            None if last is None else _Last(last.commit_lsn, last.commit_time, last.xid),
            place.mark,
            place.group,
        )
    )


def unread_entry(tail: bytes | None, key: str) -> tuple[str, str] | None:
    """Stream and id of the entry that is the tail, where no more is known of it. Raises StreamUnusable."""
    try:
        found = None if tail is None else _decode_tail(tail)
    except msgspec.MsgspecError:
        raise _unreadable(key, "tail") from None
    return (found.stream, found.id) if found is not None and found.stream else None


def read_owner(stored: bytes | None, key: str) -> PipelineId | None:
    """Raises StreamUnusable."""
    try:
        return None if stored is None else owners.decode_owner(stored)
    except msgspec.MsgspecError:
        raise _unreadable(key, "owner") from None


def read_state(owner: PipelineId | None, tail: bytes | None, snapshots: bytes | None, key: str) -> SinkState:
    """Raises StreamUnusable."""
    if tail is None:
        return SinkState(owner, None, snapshots=snapshots or b"")
    try:
        found = _decode_tail(tail)
        position = read_id(found.id.encode())
    except (msgspec.MsgspecError, ValueError):
        raise _unreadable(key, "tail") from None
    last = found.last
    transaction = None if last is None else Transaction(last.lsn, last.commit_time, last.xid)
    return SinkState(owner, position, transaction, mark=found.mark, snapshots=snapshots or b"", group=found.group)


def check_owner(owner: PipelineId | None, claimant: PipelineId, key: str, *, accepts_gap: bool) -> None:
    """Raise StreamOwned where the streams belong to another slot or another database cluster."""
    owners.check_owner(
        owner,
        claimant,
        accepts_gap=accepts_gap,
        things=f"the keys of {key}",
        settings="redis.key_prefix or events.prefix",
        context={"key": key},
    )


def _unreadable(key: str, field: str) -> StreamUnusable:
    return StreamUnusable(
        f"field {field} of key {key} does not have the form that Ditto knows",
        hint="has something else written to the key? Restore it from a backup of Redis",
        key=key,
    )
