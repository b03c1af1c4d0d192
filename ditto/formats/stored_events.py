"""Events read back from a stream, whatever reads them: verify, tail, status and the demonstration."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from ditto.decoding.change import StoredObject
from ditto.formats import deep_json

READ: Final = "READ"
"""The action of a row that a snapshot read."""

Header = Callable[[str], str | None]
"""Looks up a header of a message by name; None where it has none."""

_CONTENT_TYPE: Final = "Content-Type"


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


class _CloudEvent(msgspec.Struct, gc=False):
    specversion: str
    data: msgspec.Raw


_event: Final = msgspec.json.Decoder(StoredEvent)
_cloud_event: Final = msgspec.json.Decoder(_CloudEvent)


def no_header(name: str) -> None:
    """For messages whose headers are not known."""


def read_event(payload: bytes, header: Header = no_header) -> StoredEvent:
    """The event, in whichever format, however deep its values are nested.

    Raises msgspec.MsgspecError for what is none, as checkpoints.
    """
    if is_msgpack(header):
        from ditto.formats.stored_msgpack import read_msgpack  # noqa: PLC0415  -- it is rare

        return read_msgpack(payload)
    try:
        return deep_json.decode(payload, _event)
    except msgspec.MsgspecError:
        pass
    try:
        return deep_json.decode(bytes(deep_json.decode(payload, _cloud_event).data), _event)
    except msgspec.MsgspecError:
        pass
    from ditto.formats.debezium.stored import read_debezium  # noqa: PLC0415

    return read_debezium(payload)


def as_json(payload: bytes, header: Header) -> bytes:
    """The event as it is stored; one in MessagePack as JSON. Raises msgspec.MsgspecError."""
    if not is_msgpack(header):
        return payload
    from ditto.formats.stored_msgpack import as_json as msgpack_as_json  # noqa: PLC0415

    return msgpack_as_json(payload)


def is_msgpack(header: Header) -> bool:
    """Whether the headers of a message say that its payload is MessagePack."""
    content_type = header(_CONTENT_TYPE)
    return content_type is not None and content_type.startswith("application/msgpack")
