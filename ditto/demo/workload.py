"""The workload of the demonstration: every kind of change, committed and rolled back, from several connections."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from ditto.demo.schema import ACCOUNTS, SYMBOLS
from ditto.lsn import parse_lsn
from ditto.source.connection import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

WORKERS = 2
MAX_BATCH_ROWS = 50

TRADE = """
    INSERT INTO public.trades (account_id, symbol, side, quantity, price, terms)
    SELECT %(account)s, 'SYM' || i %% 40, (ARRAY['buy', 'sell']::public.side[])[1 + i %% 2], i, random() * 1000,
           jsonb_build_object('venue', 'ØX', 'fee', random()::numeric(30, 20), 'legs', ARRAY[i, -i], 'note', NULL)
    FROM generate_series(1, %(rows)s) i"""

SETTLE = """
    UPDATE public.accounts SET balance = balance + (random() * 100 - 50)::numeric(20, 4), tags[1] = 'active'
    WHERE id %% %(workers)s = %(worker)s AND id BETWEEN %(account)s AND %(account)s + %(rows)s * %(workers)s - 1"""

NOTE = """
    INSERT INTO public.audit_log (actor, action, detail)
    VALUES ('worker ' || %(worker)s, 'settled', jsonb_build_object('rows', %(rows)s))"""

FORGET = """
    DELETE FROM public.audit_log WHERE ctid IN
        (SELECT ctid FROM public.audit_log WHERE actor = 'worker ' || %(worker)s LIMIT 1)"""

PURGE = """
    DELETE FROM public.trades WHERE id IN
        (SELECT id FROM public.trades WHERE account_id = %(account)s ORDER BY id LIMIT %(rows)s)"""

QUOTE = """
    UPDATE public.quotes
    SET bid = random(), ask = 1e300 * random(), quoted_at = clock_timestamp(), depth = '{{1,2},{3,NULL}}'
    WHERE symbol = 'SYM' || %(symbol)s"""

# About 150 kB, and too random to be compressed into the row itself.
DESCRIBE = """
    UPDATE public.instruments SET document = (
        SELECT jsonb_build_object('id', 12345678901234567890.0987654321, 'chapters', jsonb_agg(md5(random()::text)))
        FROM generate_series(1, 4000))
    WHERE symbol = 'SYM' || %(symbol)s"""

RENAME = "UPDATE public.instruments SET name = 'Instrument of ' || clock_timestamp() WHERE symbol = 'SYM' || %(symbol)s"
MOVE = "UPDATE public.instruments SET symbol = 'MOVED' || %(symbol)s WHERE symbol = 'SYM' || %(symbol)s"
MOVE_BACK = "UPDATE public.instruments SET symbol = 'SYM' || %(symbol)s WHERE symbol = 'MOVED' || %(symbol)s"

SCRIBBLE = "INSERT INTO public.scratch SELECT i, 'note' FROM generate_series(1, %(rows)s) i ON CONFLICT DO NOTHING"
WIPE = "TRUNCATE public.scratch"


class Kind(NamedTuple):
    """A kind of transaction: `statements`, of which those in `undone` run first and are rolled back to a savepoint."""

    weight: int
    statements: Sequence[str]
    undone: Sequence[str] = ()
    is_rolled_back: bool = False


KINDS = (
    Kind(40, (TRADE, SETTLE, NOTE)),
    Kind(15, (QUOTE,)),
    Kind(15, (PURGE, FORGET)),
    Kind(10, (RENAME,)),
    Kind(3, (DESCRIBE, RENAME)),
    Kind(3, (MOVE, MOVE_BACK)),
    Kind(4, (SCRIBBLE,)),
    Kind(2, (WIPE,)),
    Kind(4, (NOTE,), undone=(TRADE, QUOTE)),
    Kind(4, (TRADE, SETTLE, DESCRIBE), is_rolled_back=True),
)


class Workload:
    """Writes about `rows_per_s` rows a second until it is cancelled, and counts what was committed."""

    def __init__(self, dsn: str, *, rows_per_s: int) -> None:
        self._dsn = dsn
        self.rows_per_s = rows_per_s
        self.transactions = 0
        self.rows = 0
        """Committed changes: rows, and a TRUNCATE as one."""

    async def run(self, *, seconds: float | None = None) -> None:
        """Write for that long, and finish the transactions that are open then; without `seconds`, for ever."""
        deadline = None if seconds is None else time.monotonic() + seconds
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                connection = await connect(self._dsn, is_read_only=False)
                await stack.enter_async_context(connection)
                group.create_task(self._work(connection, number, deadline))

    async def mark_end(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """Commit one more transaction. Returns an LSN after which nothing but that has committed."""
        async with connection.transaction():
            row = await (await connection.execute("SELECT pg_current_wal_insert_lsn()::text")).fetchone()
            await connection.execute("INSERT INTO public.audit_log (actor, action) VALUES ('demo', 'end')")
        self.committed(1)
        return parse_lsn(row[0]) if row else 0

    def committed(self, rows: int) -> None:
        self.transactions += 1
        self.rows += rows

    async def _work(self, connection: psycopg.AsyncConnection[Any], number: int, deadline: float | None) -> None:
        """One worker, with accounts and instruments of its own, so that workers do not wait for each other."""
        choose = random.Random(number)  # noqa: S311  # the same kinds in the same order on every run
        weights = [kind.weight for kind in KINDS]
        due = time.monotonic()
        while deadline is None or time.monotonic() < deadline:
            batch_rows = max(1, min(MAX_BATCH_ROWS, self.rows_per_s // 20))
            values = {
                "worker": number,
                "workers": WORKERS,
                "rows": batch_rows,
                "account": choose.randrange(number, ACCOUNTS, WORKERS),
                "symbol": choose.randrange(number, SYMBOLS, WORKERS),
            }
            (kind,) = choose.choices(KINDS, weights)
            rows = await self._transact(connection, kind, values)
            due = max(due + max(rows, 1) * WORKERS / self.rows_per_s, time.monotonic() - 1)
            await asyncio.sleep(max(0, due - time.monotonic()))

    async def _transact(self, connection: psycopg.AsyncConnection[Any], kind: Kind, values: dict[str, int]) -> int:
        rows = 0
        async with connection.transaction(force_rollback=kind.is_rolled_back):
            if kind.undone:
                async with connection.transaction(force_rollback=True):
                    for statement in kind.undone:
                        await connection.execute(statement, values)
            for statement in kind.statements:
                cursor = await connection.execute(statement, values)
                rows += 1 if statement is WIPE else cursor.rowcount
        if not kind.is_rolled_back:
            self.committed(rows)
        return rows
