"""A database whose tables are read as a snapshot reads them, beside what pgoutput says of the same tables."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ditto.decoding.pure.cells import read_cells
from ditto.decoding.pure.cursor import Cursor
from ditto.decoding.pure.relations import read_relation
from ditto.errors import DittoError
from ditto.source.snapshot_reader import SnapshotReader
from scripts.postgres_servers import bin_dir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from ditto.decoding.messages import Relation
    from ditto.source.snapshot_chunk import Chunk
    from ditto.source.snapshot_table import SnapshotTable
    from ditto.testing.servers import PostgresServer

Row = tuple[str | None, ...]


def programs(major: int) -> Path:
    """Of this major. Without it the test fails in CI, and is left out elsewhere."""
    try:
        return bin_dir(major)
    except DittoError as error:
        pytest.skip(str(error))


class Database:
    """With the publication `pub`, once there is one, and the slot `slot`."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name
        self.sql(f"CREATE DATABASE {name}", dsn=server.dsn)

    @property
    def dsn(self) -> str:
        return self.server.dsn.removesuffix("/postgres") + f"/{self.name}"

    @property
    def major(self) -> int:
        return int(self.value("SHOW server_version_num")) // 10000

    def sql(self, *statements: str, dsn: str | None = None) -> list[Any]:
        rows: list[Any] = []
        with psycopg.connect(dsn or self.dsn, autocommit=True, client_encoding="UTF8") as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.rownumber is not None else []
        return rows

    def value(self, query: str) -> Any:
        return self.sql(query)[0][0]

    def connect(self) -> psycopg.Connection[Any]:
        """A connection that begins transactions by itself."""
        return psycopg.connect(self.dsn, client_encoding="UTF8")

    def publish(self, what: str = "FOR ALL TABLES") -> None:
        """Create publication and slot."""
        self.sql(
            f"CREATE PUBLICATION pub {what}",
            f"SELECT pg_create_logical_replication_slot('{self.name}', 'pgoutput')",
        )

    def drop_slots(self) -> None:
        self.sql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            f"WHERE NOT temporary AND database = '{self.name}'"
        )

    def relations(self) -> dict[tuple[str, str], Relation]:
        """The newest Relation messages of the slot, by schema and name."""
        messages = self.sql(
            f"SELECT data FROM pg_logical_slot_peek_binary_changes('{self.name}', NULL, NULL, "
            "'proto_version', '1', 'publication_names', 'pub', 'messages', 'true')"
        )
        types: dict[int, tuple[str, str]] = {}
        found = {}
        for (message,) in messages:
            cursor = Cursor(message[1:])
            if message[:1] == b"Y":
                oid = cursor.u32()
                types[oid] = cursor.string(), cursor.string()
            elif message[:1] == b"R":
                relation = read_relation(cursor, types)
                found[relation.namespace, relation.name] = relation
        return found

    @asynccontextmanager
    async def reader(self, dsn: str | None = None) -> AsyncIterator[SnapshotReader]:
        reader = SnapshotReader()
        await reader.connect(dsn or self.dsn)
        try:
            yield reader
        finally:
            await reader.close()


def cells(chunk: Chunk, table: SnapshotTable) -> list[Row]:
    """The rows of a chunk, as text."""
    count = len(table.relation.columns)
    rows = (read_cells(Cursor(chunk.rows.row(index)), count) for index in range(chunk.rows.count))
    return [tuple(None if cell is None else bytes(cell).decode() for cell in row) for row in rows]  # type: ignore[arg-type]


async def read_all(
    reader: SnapshotReader, table: SnapshotTable, *, max_rows: int = 7, max_bytes: int = 1 << 20, where: str = ""
) -> list[Row]:
    """Every row of a table, in chunks."""
    found: list[Row] = []
    cursor: list[str] | None = None
    while True:
        chunk = await reader.read_chunk(table, cursor=cursor, where=where, max_rows=max_rows, max_bytes=max_bytes)
        found += cells(chunk, table)
        if chunk.is_last:
            return found
        assert chunk.cursor != cursor, "the cursor moves on"
        cursor = chunk.cursor


def as_text(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Comparable, with nulls."""
    return sorted(tuple("∅" if value is None else value for value in row) for row in rows)
