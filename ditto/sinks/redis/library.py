"""The client library, which is an extra."""

from __future__ import annotations

from importlib.util import find_spec

from ditto.errors import MissingHere


def require_library() -> None:
    """Raise MissingHere where redis-py is not installed."""
    if find_spec("redis") is None:
        raise MissingHere(
            "the section redis is given, and the client library of Redis is not installed",
            hint="pip install 'ditto-cdc[redis]'",
            key="redis",
        )
