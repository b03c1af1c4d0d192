"""What a message of a stream is, by its subject, and as `base.Reader` gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from ditto.lsn import Position
from ditto.routing.router import checkpoint_subject, description_subjects, snapshot_subjects
from ditto.sinks.base import MessageKind, ReadMessage
from ditto.sinks.jetstream.key_headers import KEY_HEADER
from ditto.sinks.jetstream.last_message import MARKER_HEADER, POSITION_HEADER

MakeMessage: TypeAlias = Callable[[int, str, bytes, Mapping[str, str] | None, float], ReadMessage | None]
"""Sequence, subject, payload, headers and Unix time in; None out for a message of the server's own."""

_NO_HEADERS: Final[Mapping[str, str]] = {}
# The attributes of an enumeration are looked up by a function.
_EVENT, _CONTROL, _DESCRIPTION, _CHECKPOINT = MessageKind  # in its order


def message_maker(prefix: str) -> MakeMessage:
    """For messages of a pipeline with this `events.prefix`."""
    checkpoint, descriptions = checkpoint_subject(prefix), description_subjects(prefix)
    snapshots = snapshot_subjects(prefix)

    def make(
        sequence: int, subject: str, payload: bytes, headers: Mapping[str, str] | None, stored_at: float
    ) -> ReadMessage | None:
        headers = headers or _NO_HEADERS
        if MARKER_HEADER in headers:
            return None
        if subject == checkpoint:
            kind = _CHECKPOINT
        elif subject.startswith(descriptions):
            kind = _DESCRIPTION
        elif subject.startswith(snapshots):
            kind = _CONTROL
        else:
            kind = _EVENT
        try:
            position = Position.parse(headers.get(POSITION_HEADER, ""))
        except ValueError:
            position = None
        return ReadMessage(sequence, kind, payload, subject, headers, headers.get(KEY_HEADER), position, stored_at)

    return make
