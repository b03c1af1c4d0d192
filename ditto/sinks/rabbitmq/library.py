"""The client libraries, which are an extra."""

from __future__ import annotations

from importlib.util import find_spec

from ditto.errors import MissingHere


def require_library() -> None:
    """Raise MissingHere where rstream or aio-pika are not installed."""
    if find_spec("rstream") is None or find_spec("aio_pika") is None:
        raise MissingHere(
            "the section rabbitmq is given, and the client libraries of RabbitMQ are not installed",
            hint="pip install 'ditto-cdc[rabbitmq]'",
            key="rabbitmq",
        )
