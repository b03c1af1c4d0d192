"""Events read back from a stream, whatever reads them: verify, tail, status and the demonstration."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from ditto.decoding.change import StoredObject
from ditto.formats import deep_json

READ: Final = "READ"
"""The action of a row that a snapshot read."""


class StoredMeta(msgspec.Struct, gc=False, rename="camel"):
    """Of `meta`, what readers of events need."""

    primary_key: tuple[str, ...] | None = None


class StoredEvent(msgspec.Struct, gc=False, rename="camel"):
    """An event as the stream has it. Its rows are not read: a value stays the JSON text that it is."""

    schema: str
    table: str
    action: str
    data: msgspec.Raw
    data_old: msgspec.Raw
    commit_time: str
    unchanged: tuple[str, ...] = ()
    json_null: tuple[str, ...] = ()
    json_null_old: tuple[str, ...] = ()
    meta: StoredMeta | None = None
    stripped: tuple[str, ...] = ()
    object: StoredObject | None = None

    def committed_at(self) -> datetime:
        """The commit time. Raises ValueError for one that no calendar of Python's has."""
        return datetime.fromisoformat(self.commit_time)


_event: Final = msgspec.json.Decoder(StoredEvent)


def read_event(payload: bytes) -> StoredEvent:
    """The event, however deep its values are nested. Raises msgspec.MsgspecError for what is none, as checkpoints."""
    return deep_json.decode(payload, _event)
