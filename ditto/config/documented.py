"""How a key of the configuration is documented."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

Mask: TypeAlias = Literal["whole", "dsn", "url", "address", "values"]
"""Where *** is printed: in place of the whole value, of the password in a connection string or URL, of what follows the
host in an address, of every value of a mapping."""


def documented(description: str, *examples: Any, mask: Mask | None = None) -> Meta:
    """The documentation of a key."""
    return Meta(description=description, examples=list(examples) or None, extra={"mask": mask} if mask else None)


Bytes = Annotated[int, Meta(extra={"size": True})]
"""In the file a number of bytes, or a text with a unit of 1024 (`256kB`, `1MB`)."""

Seconds = Annotated[float, Meta(extra={"duration": True})]
"""Seconds inside; in the file a number of seconds, or a text with a unit (`500ms`, `10s`, `2m`, `1h`)."""
