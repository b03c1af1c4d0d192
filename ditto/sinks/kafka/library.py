"""The client library, which is an extra."""

from __future__ import annotations

from importlib.util import find_spec

from ditto.errors import MissingHere


def require_library() -> None:
    """Raise MissingHere where confluent-kafka is not installed."""
    if find_spec("confluent_kafka") is None:
        raise MissingHere(
            "the section kafka is given, and the client library of Kafka is not installed",
            hint="pip install 'ditto-cdc[kafka]'",
            key="kafka",
        )
