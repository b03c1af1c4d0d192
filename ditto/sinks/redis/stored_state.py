"""What Ditto keeps beside the streams, in one hash: whose they are, where they end, who writes to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from ditto.decoding.change import SnapshotMark
from ditto.errors import StreamOwned, StreamUnusable
from ditto.formats.own_headers import pairs, read_own
from ditto.formats.payload_prefixes import COMMIT_TIME
from ditto.formats.snapshot_events import read_mark
from ditto.formats.stored_groups import GROUP
from ditto.lsn import Checkpoint, Position, Transaction, transaction_at
from ditto.sinks.base import PipelineId, SinkState

_COMMIT_TIME_BYTES: Final = 64


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
_decode_owner: Final = msgspec.json.Decoder(PipelineId).decode


def entry_id(position: Position) -> str:
    """The id of an entry in a stream: the position in decimal."""
    return f"{position.commit_lsn}-{position.ordinal}"


def read_id(identifier: bytes) -> Position:
    """The position that the id of an entry is."""
    lsn, _, ordinal = identifier.partition(b"-")
    return Position(int(lsn), int(ordinal))


def encode_owner(pipeline: PipelineId) -> bytes:
    return _encode(pipeline)


def tail_of_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The tail that a checkpoint makes."""
    last = checkpoint.last
    return _encode(
        _Tail(
            entry_id(checkpoint.position), None if last is None else _Last(last.commit_lsn, last.commit_time, last.xid)
        )
    )


def tail_of_event(position: Position, payload: memoryview, headers: bytes) -> bytes:
    """The tail that an event makes: what the next session has to know of it."""
    return _tail_of(position, bytes(payload), pairs(headers))


def tail_of_entry(identifier: bytes, fields: Sequence[bytes]) -> bytes:
    """The same of an entry, as the server gives it."""
    named = {name.decode(): value for name, value in zip(fields[::2], fields[1::2], strict=True)}
    payload = named.pop("data", b"")
    headers = {name: value.decode(errors="replace") for name, value in named.items()}
    return _tail_of(read_id(identifier), payload, headers)


def _tail_of(position: Position, payload: bytes, headers: Mapping[str, str]) -> bytes:
    own = read_own(headers.get)
    if own is None:
        time, mark = commit_time_of(payload), read_mark(payload)
    else:
        time, mark = own.commit_time, own.mark
    last = None if time is None else transaction_at(position, time)
    group = headers.get(GROUP, "")
    return _encode(
        _Tail(
            entry_id(position),
            None if last is None else _Last(last.commit_lsn, last.commit_time, last.xid),
            mark,
            int(group) if group.isascii() and group.isdigit() else 0,
        )
    )


def unread_entry(tail: bytes | None, key: str) -> tuple[str, str] | None:
    """Stream and id of the entry that is the tail, where no more is known of it. Raises StreamUnusable."""
    try:
        found = None if tail is None else _decode_tail(tail)
    except msgspec.MsgspecError:
        raise _unreadable(key, "tail") from None
    return (found.stream, found.id) if found is not None and found.stream else None


def commit_time_of(payload: bytes) -> str | None:
    """Of an event in Ditto's own shape; None where there is none."""
    start = payload.rfind(COMMIT_TIME)
    if start < 0:
        return None
    text = payload[start + len(COMMIT_TIME) : start + len(COMMIT_TIME) + _COMMIT_TIME_BYTES]
    return text.partition(b'"')[0].decode("ascii", "replace")


def read_owner(stored: bytes | None, key: str) -> PipelineId | None:
    """Raises StreamUnusable."""
    try:
        return None if stored is None else _decode_owner(stored)
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
    if owner is None or (owner.system_identifier, owner.slot) == (claimant.system_identifier, claimant.slot):
        return
    if owner.slot == claimant.slot and accepts_gap:
        return  # where the positions go on is seen when it is decided where to begin
    raise StreamOwned(
        f"the streams of key {key} belong to slot {owner.slot} of the database cluster {owner.system_identifier}, not "
        f"to slot {claimant.slot} of {claimant.system_identifier}",
        hint="give each slot keys of its own: another redis.key_prefix or events.prefix for this one"
        if owner.slot != claimant.slot
        else "after pg_upgrade, which keeps the slot, start once with delivery.on_gap: continue; otherwise give each "
        "cluster keys of its own: another redis.key_prefix or events.prefix for this one",
        key=key,
    )


def _unreadable(key: str, field: str) -> StreamUnusable:
    return StreamUnusable(
        f"field {field} of key {key} does not have the form that Ditto knows",
        hint="has something else written to the key? Restore it from a backup of Redis",
        key=key,
    )
