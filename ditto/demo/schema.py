"""The tables of the demonstration: a small trading house, with the types and identities that are hard to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

ACCOUNTS = 400
SYMBOLS = 40
TRADES = 5000
TABLES = ("accounts", "instruments", "trades", "quotes", "audit_log", "scratch")

SCHEMA = """
CREATE TYPE public.side AS ENUM ('buy', 'sell');

CREATE TABLE public.accounts (
    id         int PRIMARY KEY,
    owner      text NOT NULL,
    balance    numeric(20, 4) NOT NULL,
    tags       text[] NOT NULL DEFAULT '{}',
    avatar     bytea,
    opened_at  timestamptz NOT NULL DEFAULT now()
);

-- The document is large: PostgreSQL does not send it again when another column changes.
CREATE TABLE public.instruments (
    symbol     text PRIMARY KEY,
    name       text NOT NULL,
    tick       numeric NOT NULL,
    document   jsonb
);

CREATE TABLE public.trades (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  int NOT NULL,
    symbol      text NOT NULL,
    side        public.side NOT NULL,
    quantity    int NOT NULL,
    price       numeric(20, 6) NOT NULL,
    executed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    terms       jsonb
);
CREATE INDEX ON public.trades (account_id, id);

-- Its events carry the whole old row.
CREATE TABLE public.quotes (
    symbol    text PRIMARY KEY,
    bid       float8,
    ask       float8,
    depth     int[][],
    quoted_at timestamp
);
ALTER TABLE public.quotes REPLICA IDENTITY FULL;

-- No key at all.
CREATE TABLE public.audit_log (
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor  text NOT NULL,
    action text NOT NULL,
    detail jsonb
);
ALTER TABLE public.audit_log REPLICA IDENTITY FULL;

CREATE TABLE public.scratch (id int PRIMARY KEY, note text);
"""

ROWS = (
    """
    INSERT INTO public.accounts (id, owner, balance, tags, avatar)
    SELECT i, 'Åse "the ' || i || '"', 10000, ARRAY['new', NULL, 'tier,' || i %% 3], decode(md5(i::text), 'hex')
    FROM generate_series(0, %(accounts)s - 1) i""",
    """
    INSERT INTO public.instruments (symbol, name, tick)
    SELECT 'SYM' || i, 'Instrument ' || i, 0.01 FROM generate_series(0, %(symbols)s - 1) i""",
    """
    INSERT INTO public.quotes SELECT symbol, 'NaN', 'Infinity', '{}', '-infinity' FROM public.instruments""",
    """
    INSERT INTO public.trades (account_id, symbol, side, quantity, price)
    SELECT i %% %(accounts)s, 'SYM' || i %% %(symbols)s, 'buy', i, i FROM generate_series(1, %(trades)s) i""",
    """
    INSERT INTO public.audit_log (actor, action) SELECT 'nobody', 'twice' FROM generate_series(1, 2)""",
)
"""What is there before Ditto starts."""


async def create_tables(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute(SCHEMA)


async def fill_tables(connection: psycopg.AsyncConnection[Any]) -> int:
    """Insert the first rows, in one transaction. Returns how many."""
    values = {"accounts": ACCOUNTS, "symbols": SYMBOLS, "trades": TRADES}
    async with connection.transaction():
        cursors = [await connection.execute(rows, values) for rows in ROWS]
    return sum(cursor.rowcount for cursor in cursors)
