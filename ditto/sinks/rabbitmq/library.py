"""The client library, which is an extra."""

from __future__ import annotations

from importlib.util import find_spec

from ditto.errors import ConfigError


def require_library() -> None:
    """Raise ConfigError where rstream is not installed."""
    if find_spec("rstream") is None:
        raise ConfigError(
            "the section rabbitmq is given, and the client library of RabbitMQ's streams is not installed",
            hint="pip install 'ditto-cdc[rabbitmq]'",
            key="rabbitmq",
        )
