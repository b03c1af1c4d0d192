"""A Debezium event, read back as one of Ditto's; its values stay as Debezium has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from ditto.formats.debezium.columns import UNAVAILABLE
from ditto.formats.stored_events import StoredEvent

_NOTHING: Final = msgspec.Raw(b"{}")
_ACTIONS: Final = {"c": "INSERT", "u": "UPDATE", "d": "DELETE", "t": "TRUNCATE", "r": "READ"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Source(msgspec.Struct, gc=False):
    schema: str
    table: str
    ts_us: int


class _Envelope(msgspec.Struct, gc=False):
    before: dict[str, msgspec.Raw] | None
    after: dict[str, msgspec.Raw] | None
    source: _Source
    op: str


class _WithSchema(msgspec.Struct, gc=False):
    payload: _Envelope


_envelope: Final = msgspec.json.Decoder(_Envelope)
_with_schema: Final = msgspec.json.Decoder(_WithSchema)
_UNAVAILABLE: Final = msgspec.json.encode(UNAVAILABLE)


def read_debezium(payload: bytes) -> StoredEvent:
    """Raises msgspec.MsgspecError for what is no event."""
    has_schema = payload.startswith(b'{"schema":')
    found = _with_schema.decode(payload).payload if has_schema else _envelope.decode(payload)
    if found.op not in _ACTIONS:
        raise msgspec.ValidationError("no event of Debezium")
    after = found.after or {}
    unchanged = tuple(name for name, value in after.items() if bytes(value) == _UNAVAILABLE)
    committed_at = _EPOCH + timedelta(microseconds=found.source.ts_us)
    return StoredEvent(
        found.source.schema,
        found.source.table,
        _ACTIONS[found.op],
        _row({name: value for name, value in after.items() if name not in unchanged}),
        _row(found.before or {}),
        committed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        unchanged,
    )


def _row(values: dict[str, msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(values)) if values else _NOTHING
