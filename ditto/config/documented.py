"""How a key of the configuration is documented."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta


def documented(description: str, *examples: Any, mask: Literal["whole", "dsn", "url"] | None = None) -> Meta:
    """The documentation of a key. `mask`: print *** in place of the whole value, or of the password inside it."""
    return Meta(description=description, examples=list(examples) or None, extra={"mask": mask} if mask else None)


Bytes = Annotated[int, Meta(extra={"size": True})]
"""In the file a number of bytes, or a text with a unit of 1024 (`256kB`, `1MB`)."""

Seconds = Annotated[float, Meta(extra={"duration": True})]
"""Seconds inside; in the file a number of seconds, or a text with a unit (`500ms`, `10s`, `2m`, `1h`)."""
