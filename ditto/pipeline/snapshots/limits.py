"""How much is read at once, and how fast."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

PIECE_ROWS: Final = 2_000
"""In one block: four groups, as groups are by default. What is done once a block, and the writes to the sink, were a
tenth of the CPU time of Ditto and of nats-server with 500."""
PIECE_BYTES: Final = 512 << 10
_TRANSACTION_S: Final = 1.0
"""How long a chunk's transaction should stay open at most: it holds back VACUUM, and an ALTER TABLE that waits."""
_HOLD_S: Final = 0.012
"""How long the live stream should wait for one chunk at most. With chunks of 5,000 rows the p99 of events was 87 ms
at 1,000 transactions a second, with 1,000 it was 26 ms, on a machine that had other work."""
_FIRST_ROWS: Final = 1_000
_GROWTH: Final = 4
_SHRINKING: Final = 2
_QUICK_S: Final = _TRANSACTION_S / _GROWTH / 2
"""A chunk that was read in less time is followed by a larger one."""
_LIVE_ROWS: Final = 1_000
"""So many at first where there are live events: how long these wait is only known when chunks have been sent, and the
next two are read by then."""
_LEAST_ROWS: Final = 250
_LEAST_BYTES: Final = 64 << 10
"""Where so few hold the stream for too long, the time is not theirs: on a machine that has too much to do, or in a
process with many pipelines, each chunk waits for its turn: a table was read at 15 rows a second, one row a chunk. With
a nats-server 20 ms away there were 400 to 1,200 rows a second, and 1,800 with this."""
_RECOVERY: Final = 1.1
_LATENESS_S: Final = 0.25
"""How much time that reading a chunk has taken is made up for: a limit was kept to 0.92 on a busy machine."""


class ChunkSize:
    """Grows from a few rows to the configured limits, as long as reading and sending a chunk are quick."""

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self.bytes = max_bytes
        """The limit in bytes."""
        self._most = float(min(_LIVE_ROWS, max_rows))  # as far as holding the stream allows where it has events
        self.rows = min(_FIRST_ROWS, max_rows)
        """The limit in rows, for the next chunk."""

    def took(self, seconds: float, *, has_events: bool) -> None:
        """The transaction that read the last chunk was open for so long. `has_events`: the stream has its own."""
        if seconds > _TRANSACTION_S:
            self.rows = max(1, self.rows // _SHRINKING)
        elif seconds < _QUICK_S:
            self.rows = min(self._max_rows, self.rows * _GROWTH)
        if has_events:
            self.rows = max(1, min(self.rows, int(self._most)))

    def held(self, seconds: float, rows: int, size: int, *, has_events: bool) -> None:
        """The stream was held for so long while so many rows of so many bytes were sent."""
        if not has_events:
            return
        if seconds > _HOLD_S and rows:
            least = min(_LEAST_ROWS, _LEAST_BYTES * rows // max(1, size))
            self._most = max(float(least), rows * _HOLD_S / seconds)
            self.rows = max(1, min(self.rows, int(self._most)))
        else:
            self._most = min(self._max_rows, max(1.0, self._most) * _RECOVERY)


class Limits:
    """A limit of rows a second; 0 for none. `clock` gives monotonic seconds."""

    def __init__(self, rows_per_s: int, *, clock: Callable[[], float], changed: asyncio.Event) -> None:
        self._rows_per_s = rows_per_s
        self._clock = clock
        self._changed = changed
        self._due_at = clock()

    async def wait(self) -> bool:
        """Until the next rows may be read, or until a request comes: then it returns False."""
        remaining_s = self._due_at - self._clock()
        if remaining_s > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(remaining_s):
                    await self._changed.wait()
            except TimeoutError:
                return True
            return False
        return True

    def spend(self, rows: int) -> None:
        """So many rows were read."""
        if self._rows_per_s:
            self._due_at = max(self._due_at, self._clock() - _LATENESS_S) + rows / self._rows_per_s
