"""The client library, which is an extra."""

from __future__ import annotations

from importlib.util import find_spec

from ditto.errors import ConfigError


def require_library() -> None:
    """Raise ConfigError where confluent-kafka is not installed."""
    if find_spec("confluent_kafka") is None:
        raise ConfigError(
            "the section kafka is given, and the client library of Kafka is not installed",
            hint="pip install 'ditto-cdc[kafka]'",
            key="kafka",
        )
