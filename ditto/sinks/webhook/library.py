"""The client libraries, which are an extra."""

from __future__ import annotations

from importlib.util import find_spec

from ditto.errors import MissingHere


def require_library() -> None:
    """Raise MissingHere where aiohttp or tenacity is not installed."""
    if any(find_spec(name) is None for name in ("aiohttp", "tenacity")):
        raise MissingHere(
            "the section webhook is given, and what it posts with is not installed",
            hint="pip install 'ditto-cdc[webhook]'",
            key="webhook",
        )
