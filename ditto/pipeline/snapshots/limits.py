"""How much is read at once, and how fast."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_TRANSACTION_S: Final = 1.0
"""How long a chunk's transaction should stay open at most: it holds back VACUUM, and an ALTER TABLE that waits."""
_HOLD_S: Final = 0.02
"""How long the live stream should wait for one chunk at most."""
_FIRST_ROWS: Final = 500
_GROWTH: Final = 2


class ChunkSize:
    """Grows from a few rows to the configured limits, as long as reading and sending a chunk are quick."""

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self.bytes = max_bytes
        """The limit in bytes."""
        self.rows = min(_FIRST_ROWS, max_rows)
        """The limit in rows, for the next chunk."""

    def took(self, seconds: float) -> None:
        """The transaction that read the last chunk was open for so long."""
        if seconds > _TRANSACTION_S:
            self.rows = max(1, self.rows // _GROWTH)
        elif seconds < _TRANSACTION_S / _GROWTH / _GROWTH:
            self.rows = min(self._max_rows, self.rows * _GROWTH)

    def held(self, seconds: float, rows: int) -> None:
        """The stream was held for so long while so many rows were sent."""
        if seconds > _HOLD_S and rows:
            self.rows = max(1, min(self.rows, int(rows * _HOLD_S / seconds)))


class Limits:
    """A limit of rows a second; 0 for none. `clock` gives monotonic seconds."""

    def __init__(self, rows_per_s: int, *, clock: Callable[[], float], changed: asyncio.Event) -> None:
        self._rows_per_s = rows_per_s
        self._clock = clock
        self._changed = changed
        self._due_at = clock()

    async def wait(self) -> None:
        """Until the next rows may be read, or until a request comes."""
        remaining_s = self._due_at - self._clock()
        if remaining_s > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(remaining_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def spend(self, rows: int) -> None:
        """So many rows were read."""
        if self._rows_per_s:
            self._due_at = max(self._due_at, self._clock()) + rows / self._rows_per_s
