"""The checkpoint: "everything before this LSN is stored", as a message and in the stream's metadata."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ditto.decoding.event_id import event_id
from ditto.lsn import Checkpoint, Transaction, format_lsn, parse_lsn


class _LastTransaction(msgspec.Struct, rename="camel"):
    lsn: str
    commit_time: str
    xid: int | None = None


class _Body(msgspec.Struct, omit_defaults=True):
    lsn: str
    id: str | None = None
    last: _LastTransaction | None = None
    sequence: int | None = None


class Claim(NamedTuple):
    """A checkpoint as a message has it, and the id that it gives itself."""

    checkpoint: Checkpoint
    id: str | None
    """None in a checkpoint that an earlier version of Ditto wrote."""


def encode_checkpoint(checkpoint: Checkpoint, key: bytes) -> bytes:
    """As JSON; `key` is `event_key(…)`."""
    last = checkpoint.last
    return msgspec.json.encode(
        _Body(
            format_lsn(checkpoint.lsn),
            event_id(checkpoint.position, key),
            None if last is None else _LastTransaction(format_lsn(last.commit_lsn), last.commit_time, last.xid),
            checkpoint.sequence,
        )
    )


def decode_checkpoint(payload: bytes | str) -> Claim:
    """Raises ValueError for what is no checkpoint."""
    body = msgspec.json.decode(payload, type=_Body)
    last = None
    if body.last is not None:
        last = Transaction(parse_lsn(body.last.lsn), body.last.commit_time, body.last.xid)
    return Claim(Checkpoint(parse_lsn(body.lsn), last, body.sequence), body.id)
