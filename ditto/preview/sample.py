"""Some rows of a table, as a snapshot would read them: nothing is locked beyond a read, and nothing is marked."""

from __future__ import annotations

from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ditto.decoding.snapshot_rows import Rows
from ditto.source.connection import connect
from ditto.source.copy_out import SILENCE_LIMIT_S
from ditto.source.snapshot_chunk import start_copy
from ditto.source.snapshot_table import SnapshotTable, describe_table
from ditto.source.snapshot_transaction import in_transaction
from ditto.source.sql import Control

_PATIENCE_S: Final = 5.0
_MOST_BYTES: Final = 64 << 20


async def sample(
    dsn: str, publication: str, schema: str, table: str, *, count: int, interval_style: str
) -> tuple[SnapshotTable, Rows]:
    """The table, and its first rows in no particular order; the publication's row filter is kept to.

    Raises SnapshotRefused, TableLocked, TableChanged.
    """
    control = Control(await connect(dsn, intervalstyle=interval_style))
    try:
        described = await describe_table(control, publication, schema, table, patience_s=_PATIENCE_S)
        rows = Rows(len(described.relation.columns))

        async def read(connection: AsyncConnection[TupleRow]) -> None:
            await connection.execute(described.begin("READ COMMITTED READ ONLY").encode())
            where = described.filtered()
            query = f"SELECT {described.select} FROM {described.source} {where} LIMIT {count}"  # noqa: S608  quoted
            copy = await start_copy(connection, query, silence_limit_s=SILENCE_LIMIT_S)
            while not copy.is_ended and rows.size < _MOST_BYTES:
                await copy.read(rows, max_bytes=_MOST_BYTES)
            if copy.is_ended:
                await connection.execute("COMMIT")

        await in_transaction(control, read, described, doing="read", progress=lambda: rows.size)
        return described, rows
    finally:
        await control.close()
