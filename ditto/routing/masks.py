"""Masks of columns: from PostgreSQL's text of a value to the text that events have in its place."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final, TypeAlias

from ditto.config.events import Mask

MaskFunction: TypeAlias = Callable[[str | None], str | None]
"""NULL in and out is None."""

_BLOCK: Final = 64
"""Bytes of a block of SHA-256."""
_PADS: Final = (0x36, 0x5C)


def mask_function(mask: Mask) -> MaskFunction:
    """What makes the masked value. Of a constant NULL is masked too; otherwise NULL stays NULL."""
    if mask.constant is not None:
        return _constant(mask.constant)
    if mask.keep_first is not None:
        return _keep_first(mask.keep_first)
    if mask.keep_last is not None:
        return _keep_last(mask.keep_last)
    if mask.hash is None:
        return _constant(None)
    return _sha256 if mask.key is None else _hmac(mask.key.encode())


def is_one_to_one(mask: Mask) -> bool:
    """Whether two values that differ still do so when they are masked."""
    return mask.hash is not None


def _constant(value: str | None) -> MaskFunction:
    def constant(_text: str | None) -> str | None:
        return value

    return constant


def _keep_first(count: int) -> MaskFunction:
    def keep_first(text: str | None) -> str | None:
        if text is None:
            return None
        hidden = len(text) - count
        return text[:count] + "*" * hidden if hidden > 0 else "*" * len(text)

    return keep_first


def _keep_last(count: int) -> MaskFunction:
    def keep_last(text: str | None) -> str | None:
        if text is None:
            return None
        hidden = len(text) - count
        return "*" * hidden + text[hidden:] if hidden > 0 else "*" * len(text)

    return keep_last


def _sha256(text: str | None) -> str | None:
    return None if text is None else sha256(text.encode()).hexdigest()


def _hmac(key: bytes) -> MaskFunction:
    """HMAC as RFC 2104 has it. The key is worked into the two hashes once: a third of what hmac.digest() takes."""
    block = (sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = (sha256(bytes(byte ^ pad for byte in block)) for pad in _PADS)

    def masked(text: str | None) -> str | None:
        if text is None:
            return None
        first, second = inner.copy(), outer.copy()
        first.update(text.encode())
        second.update(first.digest())
        return second.hexdigest()

    return masked
