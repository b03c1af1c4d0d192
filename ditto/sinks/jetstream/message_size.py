"""How large a message can be that the stream stores."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ditto.sinks.jetstream.api_answers import StreamConfig

LARGEST_IN_FILE: Final = (32 << 20) - (64 << 10)
"""Bytes of a message that nats-server's file store takes, less some for its subject and its record. The server answers
to a larger one as if the stream were full, for ever, whatever max_payload is (`rlBadThresh` in filestore.go)."""


class Largest(Struct, frozen=True):
    """The largest message that can be stored, in bytes, and which of the limits that is."""

    size: int
    limit: str


def largest_message(max_payload: int, config: StreamConfig) -> Largest:
    """The smallest of the limits; a stream that is still to be created has file storage."""
    limits = {"max_payload": max_payload, "max_msg_size": config.max_msg_size}
    if config.storage == "file":
        limits["file storage"] = LARGEST_IN_FILE
    limit = min((name for name in limits if limits[name] > 0), key=lambda name: limits[name])
    return Largest(limits[limit], limit)
