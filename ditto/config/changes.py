"""Which keys two configurations have different values of, and which of them a running Ditto can take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from ditto.config.model import Config

_TAKEN: Final = ("events.", "log.level")
_FIXED: Final = frozenset({"events.prefix"})
"""The stream's owner has it, and so have its checkpoints, by which Ditto finds its place."""


def changed_keys(before: Config, after: Config) -> list[str]:
    """In the order of the reference."""
    return list(_differences("", before, after))


def needs_restart(key: str) -> bool:
    """Whether only a start of the process can take another value of this key."""
    return key in _FIXED or not key.startswith(_TAKEN)


def _differences(path: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if not isinstance(before, Struct) or type(before) is not type(after):
        yield path
        return
    for field in msgspec.structs.fields(before):
        child = f"{path}.{field.encode_name}" if path else field.encode_name
        yield from _differences(child, getattr(before, field.name), getattr(after, field.name))
