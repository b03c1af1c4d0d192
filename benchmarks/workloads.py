"""The tables and the transactions that the benchmarks run on."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from psycopg import Connection
from psycopg.rows import TupleRow


class Shape(NamedTuple):
    """A table and how its rows come about. `values` are SQL expressions of the row's number `i`."""

    name: str
    columns: dict[str, tuple[str, str]]
    """Column name to its type and its value; `id` comes first by itself."""
    changes: str = ""
    """What an UPDATE sets; a shape that has it is written by updating rows that are there already."""


_TRADE: Final = {
    "symbol": ("text", "(ARRAY['BTC-USD', 'ETH-USD', 'SOL-EUR'])[i % 3 + 1]"),
    "side": ("text", "CASE i % 2 WHEN 0 THEN 'buy' ELSE 'sell' END"),
    "price": ("numeric(18,8)", "60000 + i % 997 / 8.0"),
    "quantity": ("numeric", "(i % 1000) / 1000.0"),
    "is_maker": ("boolean", "i % 2 = 0"),
    "client_ref": ("uuid", "md5(i::text)::uuid"),
    "executed_at": ("timestamptz", "timestamptz '2026-01-01 UTC' + i * interval '1.017 ms'"),
}

_MIXED: Final = (
    ("integer", "i + {n}"),
    ("text", "'value ' || i + {n}"),
    ("numeric", "(i + {n}) / 7.0::numeric(10,4)"),
    ("timestamp", "timestamp '2026-01-01' + (i + {n}) * interval '1 s'"),
    ("boolean", "(i + {n}) % 3 = 0"),
    ("double precision", "(i + {n}) / 3.0::float8"),
)

_WIDE: Final = {
    **{f"column_{n:02}": (_MIXED[n % len(_MIXED)][0], _MIXED[n % len(_MIXED)][1].format(n=n)) for n in range(1, 39)},
    # About 2 KB that do not compress.
    "document": ("jsonb", "(SELECT jsonb_object_agg('field_' || n, md5((i + n)::text)) FROM generate_series(1, 42) n)"),
}

_ARRAYS: Final = {
    "counts": ("integer[]", "ARRAY(SELECT (i + n)::int FROM generate_series(1, 24) n)"),
    "grid": ("integer[]", "ARRAY[ARRAY[i, 1, 2], ARRAY[3, NULL, 5]]::int[]"),
    "tags": ("text[]", """ARRAY['plain', 'with, comma', 'with "quotes"', NULL, '', 'tag ' || i]"""),
    "prices": ("numeric[]", "ARRAY(SELECT (i + n) / 8.0 FROM generate_series(1, 12) n)"),
    "seen_at": (
        "timestamptz[]",
        "ARRAY(SELECT timestamptz '2026-01-01 UTC' + n * interval '1 h' FROM generate_series(1, 6) n)",
    ),
}

SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape("narrow", {"a": ("integer", "i % 1000"), "b": ("integer", "i * 7 % 100003")}),
        Shape("trades", _TRADE),
        Shape("wide", _WIDE),
        Shape("updates", _TRADE, changes="quantity = quantity + 1, executed_at = executed_at + interval '1 s'"),
        Shape("arrays", _ARRAYS),
    )
}
"""Narrow has 3 columns, trades 8, wide 40; updates are of trades with REPLICA IDENTITY FULL."""


class Writable(Protocol):
    """What can be written into the WAL. All its methods need autocommit."""

    @property
    def publication(self) -> str: ...

    def prepare(self, connection: Connection[TupleRow]) -> None: ...

    def write(self, connection: Connection[TupleRow]) -> None: ...

    def remove(self, connection: Connection[TupleRow]) -> None: ...


class Workload(NamedTuple):
    """So many rows of a shape, so many in each transaction."""

    shape: Shape
    rows: int
    rows_per_transaction: int

    @property
    def name(self) -> str:
        return f"{self.shape.name}/{self.rows_per_transaction}"

    @property
    def table(self) -> str:
        """Table and publication have this name."""
        return f"bench_{self.shape.name}_{self.rows_per_transaction}"

    @property
    def publication(self) -> str:
        return self.table

    def prepare(self, connection: Connection[TupleRow]) -> None:
        """Create the table, filled where it is to be updated, and its publication. Needs autocommit, like `write`."""
        shape = self.shape
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in shape.columns.items())
        _run(connection, f"CREATE TABLE {self.table} (id bigint PRIMARY KEY, {columns})")
        _run(connection, f"CREATE PUBLICATION {self.table} FOR TABLE {self.table}")
        if shape.changes:
            _run(connection, f"ALTER TABLE {self.table} REPLICA IDENTITY FULL")
            _run(connection, self.insert("1", str(self.rows)))

    def write(self, connection: Connection[TupleRow]) -> None:
        """Commit all the transactions."""
        last = f"least(first + {self.rows_per_transaction - 1}, {self.rows})"
        if self.shape.changes:
            statement = f"UPDATE {self.table} SET {self.shape.changes} WHERE id BETWEEN first AND {last}"
        else:
            statement = self.insert("first", last)
        _run(
            connection,
            f"""DO $$ DECLARE first bigint := 1; BEGIN
            WHILE first <= {self.rows} LOOP
                {statement}; COMMIT; first := first + {self.rows_per_transaction};
            END LOOP; END $$""",
        )

    def insert(self, first: str, last: str) -> str:
        """The statement that inserts the rows with these numbers."""
        values = ", ".join(value for _, value in self.shape.columns.values())
        return f"INSERT INTO {self.table} SELECT i, {values} FROM generate_series({first}, {last}) AS i"

    def remove(self, connection: Connection[TupleRow]) -> None:
        """Drop table and publication."""
        _run(connection, f"DROP PUBLICATION {self.table}")
        _run(connection, f"DROP TABLE {self.table}")


class Spread(NamedTuple):
    """So many rows of trades, so many in each transaction, going in turn to so many tables."""

    rows: int
    rows_per_transaction: int
    tables: int

    @property
    def publication(self) -> str:
        """Its length is always the same: it stands in the tables' names, and so in every event."""
        return f"spread_{self.rows:07}_{self.rows_per_transaction:07}_{self.tables:04}"

    @property
    def _tables(self) -> list[str]:
        return [f"{self.publication}_{number:04}" for number in range(self.tables)]

    def prepare(self, connection: Connection[TupleRow]) -> None:
        """Create the tables, and their publication."""
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in _TRADE.items())
        for table in self._tables:
            _run(connection, f"CREATE TABLE {table} (id bigint PRIMARY KEY, {columns})")
        _run(connection, f"CREATE PUBLICATION {self.publication} FOR TABLE {', '.join(self._tables)}")

    def write(self, connection: Connection[TupleRow]) -> None:
        """Commit all the transactions."""
        values = ", ".join(value for _, value in _TRADE.values())
        size = self.rows_per_transaction if self.tables == 1 else 1
        _run(
            connection,
            f"""DO $$ DECLARE first bigint := 1; BEGIN
            WHILE first <= {self.rows} LOOP
                EXECUTE 'INSERT INTO {self.publication}_' || lpad((first % {self.tables})::text, 4, '0')
                    || $sql$ SELECT i, {values} FROM generate_series($1, $2) AS i $sql$
                    USING first, least(first + {size - 1}, {self.rows});
                first := first + {size};
                IF (first - 1) % {self.rows_per_transaction} = 0 THEN COMMIT; END IF;
            END LOOP; END $$""",
        )

    def remove(self, connection: Connection[TupleRow]) -> None:
        """Drop tables and publication."""
        _run(connection, f"DROP PUBLICATION {self.publication}")
        _run(connection, f"DROP TABLE {', '.join(self._tables)}")


def _run(connection: Connection[TupleRow], statement: str) -> None:
    connection.execute(statement.encode())
