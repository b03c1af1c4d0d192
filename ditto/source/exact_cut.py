"""Placeholder: reading a table without a key. The branch `source` brings the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ditto.decoding.snapshot_rows import Rows
from ditto.errors import SnapshotRefused
from ditto.source.snapshot_table import SnapshotTable


class ExactCut:
    """A snapshot at an LSN."""

    consistent_lsn = 0

    async def wait_until_safe(self) -> None:
        """Wait."""

    async def rows(self) -> AsyncIterator[Rows]:
        """Rows in pieces."""
        yield Rows(0)


@asynccontextmanager
async def exact_cut(dsn: str, table: SnapshotTable, *, where: str) -> AsyncIterator[ExactCut]:
    """Not there yet."""
    del dsn, where
    raise SnapshotRefused(f"table {table.name} has no key")
    yield ExactCut()  # type: ignore[unreachable]
