"""An event in MessagePack, read back as if it were JSON."""

from __future__ import annotations

import math
from base64 import b64encode
from typing import Any, Final

import msgspec

from ditto.decoding.change import StoredObject
from ditto.formats.stored_events import StoredEvent, StoredMeta


class _Event(msgspec.Struct, gc=False, rename="camel"):
    schema: str
    table: str
    action: str
    data: dict[str, Any]
    data_old: dict[str, Any]
    commit_time: str
    unchanged: tuple[str, ...] = ()
    meta: StoredMeta | None = None
    stripped: tuple[str, ...] = ()
    object: StoredObject | None = None


_event: Final = msgspec.msgpack.Decoder(_Event)


def read_msgpack(payload: bytes) -> StoredEvent:
    """Values as JSON has them with `types.json: string`. Raises msgspec.MsgspecError for what is no event."""
    found = _event.decode(payload)
    return StoredEvent(
        found.schema,
        found.table,
        found.action,
        _row(found.data),
        _row(found.data_old),
        found.commit_time,
        found.unchanged,
        meta=found.meta,
        stripped=found.stripped,
        object=found.object,
    )


def as_json(payload: bytes) -> bytes:
    """The whole event. Raises msgspec.MsgspecError."""
    return msgspec.json.encode(_plain(msgspec.msgpack.decode(payload)))


def _row(row: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({name: _plain(value) for name, value in row.items()}))


def _plain(value: Any) -> Any:
    """What JSON has in its place."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
