"""Compares replayed tables with the real ones, inside PostgreSQL: it converts the JSON back itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg import sql

from ditto.config import Types
from ditto.verify.difference import Difference
from ditto.verify.inverse import Form, form, input_text, members
from ditto.verify.tables import JSON_NULLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ditto.verify.replay import Replay

CHUNK_BYTES = 4 * 1024 * 1024
MAX_DIFFERENCES = 1000
"""Reported for one table; more are not counted."""

Connection = psycopg.AsyncConnection[Any]

SETTINGS = "SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL lc_monetary = 'C'; \
SET LOCAL xmloption = 'content'; SET LOCAL extra_float_digits = 1"
"""How the server reads what Ditto's connection had it write, whatever the database and the role say."""

_DEFAULT = Types()
_names = msgspec.json.Decoder(set[str])

KEYS = """
    SELECT DISTINCT ON (c.oid) n.nspname, c.relname, (
        SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
        WHERE k.place <= i.indnkeyatts)
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (i.indisprimary OR i.indisreplident) AND i.indimmediate AND i.indisvalid
    ORDER BY c.oid, i.indisreplident DESC"""

# Before 15 there are neither lists of columns nor filters; before 18 generated columns are never published.
PUBLISHED = """
    SELECT schemaname::text, tablename::text, to_jsonb(p) -> 'attnames', to_jsonb(p) ->> 'rowfilter',
           current_setting('server_version_num')::int >= 180000
    FROM pg_publication_tables p WHERE pubname = %s ORDER BY 1, 2"""

# For each column its type and modifier, the type below its domains, and whether its values have to be converted: those
# of some types, and of arrays and domains of these.
COLUMNS = """
    WITH RECURSIVE types(number, type, depth, is_element) AS (
        SELECT attnum, atttypid, 0, false FROM pg_attribute
        WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND (attgenerated = '' OR %s)
          AND coalesce(attname = ANY(%s::text[]), true)
        UNION ALL
        SELECT number, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END, depth + 1,
               is_element OR t.typtype <> 'd'
        FROM types JOIN pg_type t ON t.oid = types.type
        WHERE t.typtype = 'd' OR t.typcategory = 'A')
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
           format_type((array_agg(t.oid ORDER BY depth DESC) FILTER (WHERE NOT is_element))[1], NULL),
           bool_or(t.oid IN ('bytea'::regtype, 'json'::regtype, 'jsonb'::regtype) OR t.typname = 'hstore'),
           c.relkind = 'p'
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid
    JOIN types ON types.number = a.attnum
    JOIN pg_type t ON t.oid = types.type
    WHERE c.oid = to_regclass(%s)
    GROUP BY a.attnum, a.attname, a.atttypid, a.atttypmod, c.relkind ORDER BY a.attnum"""

COUNTERPARTS = """
    SELECT CASE WHEN t.tableoid IS NULL THEN 'extra row' WHEN c.tableoid IS NULL THEN 'missing row'
                ELSE 'different values' END,
           ARRAY[{key}],
           CASE WHEN c.tableoid IS NULL OR t.tableoid IS NULL THEN '{{}}'::text[]
                ELSE array_remove(ARRAY[{differing}], NULL) END
    FROM pg_temp.ditto_copy c FULL JOIN {table} t ON {same_key}
    WHERE c.tableoid IS NULL OR t.tableoid IS NULL OR ROW({copied})::text IS DISTINCT FROM ROW({real})::text
    LIMIT {limit}"""

MULTISETS = """
    WITH c AS (SELECT ROW({columns})::text AS line, count(*) AS n FROM pg_temp.ditto_copy GROUP BY 1),
         t AS (SELECT ROW({columns})::text AS line, count(*) AS n FROM {table} GROUP BY 1)
    SELECT CASE WHEN coalesce(c.n, 0) > coalesce(t.n, 0) THEN 'extra row' ELSE 'missing row' END,
           ARRAY[md5(coalesce(c.line, t.line))], '{{}}'::text[]
    FROM c FULL JOIN t ON c.line = t.line
    WHERE c.n IS DISTINCT FROM t.n
    LIMIT {limit}"""


@dataclass(kw_only=True)
class Comparison:
    rows: int = 0
    """Rows of the real tables, every one of them compared."""
    tables: int = 0
    differences: list[Difference] = field(default_factory=list)


async def table_keys(connection: Connection) -> dict[tuple[str, str], tuple[str, ...]]:
    """Each table's key columns, by schema and table: the replica identity index, else the primary key."""
    cursor = await connection.execute(KEYS)
    return {(schema, table): tuple(columns) for schema, table, columns in await cursor.fetchall()}


@dataclass(kw_only=True, frozen=True)
class Published:
    """What a publication holds of a table; without arguments, all of it."""

    columns: list[str] | None = None
    has_generated: bool = False
    """Whether generated columns that are among `columns` are published too."""
    row_filter: str | None = None
    """An SQL expression over the table's columns."""


async def published_tables(connection: Connection, publication: str) -> dict[tuple[str, str], Published]:
    """Each table in the publication, by schema and name."""
    cursor = await connection.execute(PUBLISHED, [publication])
    return {
        (schema, table): Published(columns=columns, has_generated=has_generated, row_filter=row_filter)
        for schema, table, columns, row_filter, has_generated in await cursor.fetchall()
    }


async def compare(
    connection: Connection,
    replay: Replay,
    *,
    tables: Mapping[tuple[str, str], Published] = MappingProxyType({}),
    types: Types = _DEFAULT,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    """Compare every replayed table, and those of `tables` that have no events, with the real ones, row by row.

    Equal means equal as PostgreSQL's own text. What is not published is left out: columns and rows that the publication
    leaves out, generated columns. `types` are the options that the events were written with. `on_progress` is told
    replayed rows done and in all.
    """
    keys = await table_keys(connection)
    total = sum(map(len, replay.tables.values()))
    loaded = 0
    result = Comparison()
    for name in sorted({*replay.tables, *tables}):
        copy = replay.tables.get(name)
        table = await _Table.find(connection, name, keys.get(name, ()), tables.get(name, Published()), types)
        if table is None:
            if copy:
                result.differences.append(Difference("has rows in the stream but does not exist", ".".join(name), ""))
            continue
        async with connection.transaction(force_rollback=True):
            await connection.execute(SETTINGS)
            await table.create_copies()
            for chunk in _chunks(copy.rows() if copy else iter(())):
                result.differences += await table.load(chunk)
                loaded += len(chunk)
                on_progress(loaded, total)
            result.rows += await table.count()
            result.differences += await table.differences()
        result.tables += 1
    return result


@dataclass(kw_only=True)
class _Table:
    """What is published of a real table, and its copy in a temporary one."""

    connection: Connection
    name: str
    identifier: sql.Composable
    rows: sql.Composable
    """What to select from: without the tables that inherit from it, but with its partitions."""
    row_filter: str | None
    key: tuple[str, ...]
    columns: dict[str, str]
    """Each column's type."""
    forms: dict[str, Form]
    """Of the columns whose values are converted here; PostgreSQL reads the others as they stand in the event."""
    documents: frozenset[str]
    """The columns of type json and jsonb, and of domains over these."""

    @classmethod
    async def find(
        cls,
        connection: Connection,
        name: tuple[str, str],
        key: tuple[str, ...],
        published: Published,
        types: Types,
    ) -> _Table | None:
        identifier = sql.Identifier(*name)
        text = identifier.as_string(connection)
        rows = await (
            await connection.execute(COLUMNS, [text, published.has_generated, published.columns, text])
        ).fetchall()
        if not rows:
            return None
        is_partitioned = rows[0][4]
        return cls(
            connection=connection,
            name=".".join(name),
            identifier=identifier,
            rows=identifier if is_partitioned else sql.SQL("ONLY ") + identifier,
            row_filter=published.row_filter,
            key=key,
            columns={column: type_name for column, type_name, _, _, _ in rows},
            forms={column: form(base, types) for column, _, base, is_converted, _ in rows if is_converted},
            documents=frozenset(column for column, _, base, _, _ in rows if base in {"json", "jsonb"}),
        )

    async def create_copies(self) -> None:
        await self._execute("CREATE TEMPORARY TABLE ditto_copy AS SELECT {columns} FROM {table} WITH NO DATA")
        if self.row_filter is not None:
            await self._execute(
                "CREATE TEMPORARY VIEW ditto_published AS SELECT tableoid, * FROM {table} WHERE {row_filter}",
                row_filter=sql.SQL(self.row_filter),  # as the catalogue has it
            )
            self.rows = sql.Identifier("pg_temp", "ditto_published")

    async def count(self) -> int:
        row = await (await self._execute("SELECT count(*) FROM {table}")).fetchone()
        return int(row[0]) if row else 0

    async def load(self, rows: list[bytes]) -> list[Difference]:
        """Put rows into the copy. The answer names those that PostgreSQL cannot read as rows of this table."""
        text = b"[" + b",".join(map(self._converted, rows)) + b"]"
        try:
            async with self.connection.transaction():
                await self._execute(
                    "INSERT INTO pg_temp.ditto_copy SELECT {loaded} "
                    "FROM json_to_recordset({rows}::json) AS r ({definitions})",
                    loaded=self._each_column("{name}::{type}", "{name}"),
                    definitions=self._each_column("{name} text", "{name} {type}"),
                    rows=text.decode(),
                )
        except psycopg.DataError:
            if len(rows) == 1:
                return [Difference("a value that the table's types cannot read", self.name, self._key_of(rows[0]))]
            middle = len(rows) // 2
            return await self.load(rows[:middle]) + await self.load(rows[middle:])
        return []

    async def differences(self) -> list[Difference]:
        cursor = await self._execute(COUNTERPARTS if self.key else MULTISETS)
        label = ", ".join(self.key) or "hash"
        return [
            Difference(kind, self.name, f"({label}) = ({', '.join(where)})", tuple(columns))
            for kind, where, columns in await cursor.fetchall()
        ]

    async def _execute(self, query: str, **literals: object) -> psycopg.AsyncCursor[Any]:
        def each(template: str, columns: Iterable[str], separator: str) -> sql.Composable:
            return sql.SQL(separator).join(
                sql.SQL(template).format(c=sql.Identifier("c", column), t=sql.Identifier("t", column), name=column)
                for column in columns
            )

        composed = sql.SQL(query).format(
            table=self.rows,
            identifier=self.identifier,
            columns=sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            copied=each("{c}", self.columns, ", "),
            real=each("{t}", self.columns, ", "),
            key=each("coalesce({c}, {t})::text", self.key, ", "),
            same_key=each("{c} = {t}", self.key, " AND "),
            differing=each("CASE WHEN {c}::text IS DISTINCT FROM {t}::text THEN {name} END", self.columns, ", "),
            limit=MAX_DIFFERENCES,
            **literals,
        )
        return await self.connection.execute(composed)

    def _each_column(self, template_document: str, template: str) -> sql.Composable:
        """A list of the columns, documents by a template of their own.

        PostgreSQL takes a JSON string for a column of type json as a document, and for others as their text.
        """
        return sql.SQL(", ").join(
            sql.SQL(template_document if column in self.documents else template).format(
                name=sql.Identifier(column), type=sql.SQL(type_name)
            )
            for column, type_name in self.columns.items()
        )

    def _key_of(self, row: bytes) -> str:
        values = members(row)
        key = ", ".join(bytes(values[column]).decode() for column in self.key if column in values)
        return f"({', '.join(self.key)}) = ({key})"

    def _converted(self, row: bytes) -> bytes:
        if not self.forms:
            return row
        values = members(row)
        json_nulls = _names.decode(values.pop(JSON_NULLS, b"[]"))
        for column, column_form in self.forms.items():
            if column in values:
                text = input_text(values[column], column_form, is_json_null=column in json_nulls)
                values[column] = msgspec.Raw(msgspec.json.encode(text))
        return msgspec.json.encode(values)


def _chunks(rows: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Groups of rows that are small enough for one statement."""
    chunk: list[bytes] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row)
        if size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
