"""One transaction of a snapshot on its connection, and what its failures mean for the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from psycopg import AsyncConnection, errors
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from ditto.errors import AccessDenied, DittoError, SnapshotRefused, SourceError
from ditto.source.command_errors import Answer, command_error, words_of
from ditto.source.copy_out import SILENCE_LIMIT_S, CopyFailed
from ditto.source.snapshot_table import SnapshotTable
from ditto.source.sql import Control

_OPEN: Final = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})
_ABOUT_NAMES: Final = ("0A", "42", "55")
"""Classes of SQLSTATE whose messages quote names and the statement. Others may quote values of rows."""

T = TypeVar("T")


class TableChanged(Exception):
    """The table is not what it was when it was described: it, its partitions or the publication were altered."""


async def in_transaction(
    control: Control,
    work: Callable[[AsyncConnection[TupleRow]], Awaitable[T]],
    table: SnapshotTable,
    *,
    doing: str,
    progress: Callable[[], object] = lambda: None,
) -> T:
    """The result of work, which begins and ends a transaction; one that fails is rolled back.

    Raises TableChanged where the table is gone, SnapshotRefused for what only concerns this table, and TableLocked,
    ConnectionLost and others that are retryable.
    """

    async def run() -> T:
        return await rolled_back(control.connection, work(control.connection), table)

    doing = f"{doing} table {table.name}"
    try:
        return await control.within(run(), doing=doing, timeout_s=SILENCE_LIMIT_S, progress=progress)
    except (SnapshotRefused, AccessDenied):
        raise
    except SourceError as error:
        if error.is_retryable:
            raise
        raise SnapshotRefused(error.message, hint=error.hint) from error


async def rolled_back(connection: AsyncConnection[TupleRow], work: Awaitable[T], table: SnapshotTable) -> T:
    """The result of work; where that fails, the transaction that it has begun is rolled back. Raises TableChanged."""
    try:
        return await work
    except (errors.UndefinedTable, errors.InvalidSchemaName) as error:
        await roll_back(connection)
        raise TableChanged(table.name) from error
    except CopyFailed as error:
        await roll_back(connection)
        raise copy_error(error.answer, table.name) from error
    except BaseException:
        await roll_back(connection)
        raise


async def roll_back(connection: AsyncConnection[TupleRow]) -> None:
    """End the transaction, if there is one and the server listens."""
    if not connection.broken and connection.info.transaction_status in _OPEN:
        await connection.execute("ROLLBACK")


async def one_row(connection: AsyncConnection[TupleRow], *statements: str) -> list[str | None]:
    """The columns of the only row that these statements give, as text; sent together, in the simple protocol."""
    async with connection.cursor() as cursor:
        await cursor.execute("; ".join(statements).encode())
        values: list[str | None] = []
        while True:
            result = cursor.pgresult
            if result is not None and result.ntuples:
                values = [_text(result.get_value(0, column)) for column in range(result.nfields)]
            if not cursor.nextset():
                return values


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def copy_error(answer: Answer, table: str) -> DittoError:
    """What an error of the server's means that came instead of a table's rows, or among them."""
    error = command_error(answer, doing=f"read table {table}")
    if error.is_retryable:
        return error
    state = answer.sqlstate or ""
    reason = answer.message if state.startswith(_ABOUT_NAMES) else words_of(state)
    return SnapshotRefused(f"cannot read table {table}: {reason}", hint="the server's log tells more", sqlstate=state)
