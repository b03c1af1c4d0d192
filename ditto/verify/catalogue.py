"""The tables to be compared, from PostgreSQL's catalogue.

Every name is qualified and nothing is cast: the functions and operators of others must not run as Ditto's role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from psycopg.sql import SQL, Identifier

from ditto.errors import PublicationMissing
from ditto.source.sql import Control
from ditto.verify.canonical_values import Column

TableName = tuple[str, str]
"""Schema and name."""

_KEYS: Final = """
    SELECT DISTINCT ON (c.oid) n.nspname AS schema, c.relname AS name, c.relreplident = 'f' AS is_full,
        k.columns, k.published
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT pg_catalog.array_agg(a.attname ORDER BY k.place) AS columns,
               pg_catalog.array_agg(a.attname ORDER BY k.place) FILTER (WHERE a.attgenerated = '') AS published
        FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k(place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[k.place]) AS k
    WHERE (i.indisprimary OR i.indisreplident) AND i.indimmediate AND i.indisvalid
    ORDER BY c.oid, i.indisreplident DESC"""

# Before 15 there are neither lists of columns nor filters; before 18 generated columns are never published.
_PUBLISHED: Final = """
    SELECT p.schemaname AS schema, p.tablename AS name, {columns} AS columns, {row_filter} AS row_filter
    FROM pg_catalog.pg_publication_tables AS p WHERE p.pubname = %s ORDER BY 1, 2"""

_PUBLICATION: Final = "SELECT p.xmin AS xid FROM pg_catalog.pg_publication AS p WHERE p.pubname = %s"

_TABLE: Final = """
    SELECT c.oid, c.relkind AS kind, c.relpersistence AS persistence,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
               AS is_readable,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS has_usage, current_user AS role,
           pg_catalog.row_security_active(c.oid) AS has_policies,
           (SELECT pg_catalog.min(f.relname) FROM pg_catalog.pg_partition_tree(c.oid) AS p
            JOIN pg_catalog.pg_class AS f ON f.oid = p.relid WHERE f.relkind = 'f') AS foreign_partition
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')"""

# A type that is a domain is followed to the one below it.
_COLUMNS: Final = """
    WITH RECURSIVE bases(number, type, depth) AS (
        SELECT a.attnum, a.atttypid, 0 FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
          AND (a.attgenerated = '' OR %s AND a.attgenerated = 's')
        UNION ALL
        SELECT b.number, t.typbasetype, b.depth + 1
        FROM bases AS b JOIN pg_catalog.pg_type AS t ON t.oid = b.type WHERE t.typtype = 'd')
    SELECT DISTINCT ON (b.number) a.attname AS name, n.nspname AS schema, coalesce(e.typname, t.typname) AS type,
        e.oid IS NOT NULL AS is_array, coalesce(e.typdelim, t.typdelim) AS delimiter
    FROM bases AS b
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = %s AND a.attnum = b.number
    JOIN pg_catalog.pg_type AS t ON t.oid = b.type
    LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND e.typarray = t.oid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = coalesce(e.typnamespace, t.typnamespace)
    ORDER BY b.number, b.depth DESC"""


@dataclass(kw_only=True, frozen=True)
class Published:
    """The part of a table that a publication holds; without arguments, all of it."""

    columns: list[str] | None = None
    has_generated: bool = False
    """Whether generated columns that are among `columns` are published too."""
    row_filter: str | None = None
    """An SQL expression over the table's columns: PostgreSQL allows only functions and operators of its own in it."""


@dataclass(kw_only=True, frozen=True)
class Publication:
    """The tables of a publication, and when it was made."""

    tables: Mapping[TableName, Published]
    xid: int
    """Of the transaction that made it, or changed it last."""


@dataclass(kw_only=True, frozen=True)
class Table:
    """A table as it is now."""

    oid: int
    full_name: TableName
    is_partitioned: bool
    obstacle: str | None
    """Why its rows cannot be compared, and what to do then."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """Those that are published, by name."""

    @property
    def name(self) -> str:
        """For messages."""
        return ".".join(self.full_name)


async def table_keys(
    control: Control, tables: Mapping[TableName, Published] = MappingProxyType({})
) -> dict[TableName, tuple[str, ...]]:
    """The columns that tell a table's rows apart in events: of the replica identity index, else of the primary key.

    A table is left out where these are not all in its events (a generated column is not, usually), but whole old rows
    are.
    """
    rows = await control.fetch(_KEYS, doing="look up keys")
    found = {}
    for row in rows:
        name = (row["schema"], row["name"])
        published = tables.get(name, Published())
        columns = row["columns"] if published.has_generated else row["published"] or ()
        if published.columns is not None:
            columns = [column for column in columns if column in published.columns]
        if columns and (len(columns) == len(row["columns"]) or not row["is_full"]):
            found[name] = tuple(columns)
    return found


async def read_publication(control: Control, publication: str) -> Publication:
    """Each table in the publication, by schema and name. Raises PublicationMissing."""
    version = control.server_version
    query = _PUBLISHED.format(
        columns="p.attnames" if version >= 150000 else "NULL",
        row_filter="p.rowfilter" if version >= 150000 else "NULL",
    )
    doing = "list the publication's tables"
    tables = {
        (row["schema"], row["name"]): Published(
            columns=row["columns"], has_generated=version >= 180000, row_filter=row["row_filter"]
        )
        for row in await control.fetch(query, [publication], doing=doing)
    }
    return Publication(tables=tables, xid=await publication_xid(control, publication))


async def publication_xid(control: Control, publication: str) -> int:
    """The transaction that last changed the publication itself. Needs no lock. Raises PublicationMissing."""
    rows = await control.fetch(_PUBLICATION, [publication], doing="look up the publication")
    if not rows:
        raise PublicationMissing(
            f"publication {publication} does not exist",
            hint="set postgres.publication as it is for ditto run: it tells which tables to compare",
        )
    return int(rows[0]["xid"])


async def find_table(control: Control, name: TableName, published: Published) -> Table | None:
    """The table of this name with its published columns; None where there is none."""
    doing = f"look up table {'.'.join(name)}"
    rows = await control.fetch(_TABLE, name, doing=doing)
    if not rows:
        return None
    (row,) = rows
    columns = await control.fetch(_COLUMNS, [row["oid"], published.has_generated, row["oid"]], doing=doing)
    return Table(
        oid=row["oid"],
        full_name=name,
        is_partitioned=row["kind"] == "p",
        obstacle=_obstacle(name, row),
        columns={
            each["name"]: Column(**each)
            for each in columns
            if published.columns is None or each["name"] in published.columns
        },
    )


def _obstacle(name: TableName, row: dict[str, Any]) -> str | None:
    if row["persistence"] != "p":
        return "it is unlogged: its changes are in no WAL"
    if row["foreign_partition"]:
        return f"its partition {row['foreign_partition']} is a foreign table, whose rows are in no WAL here"
    if not row["is_readable"]:
        return f"this role may not read it: {_grant(name, row)}"
    if row["has_policies"]:
        return (
            "row-level security would hide rows of it, and run its policies as this role: give ditto verify a role "
            "that owns the table, without FORCE ROW LEVEL SECURITY, or that has the attribute BYPASSRLS"
        )
    return None


def _grant(name: TableName, row: dict[str, Any]) -> str:
    schema, table = name
    role = Identifier(row["role"])
    select = SQL("GRANT SELECT ON {} TO {};").format(Identifier(schema, table), role)
    if row["has_usage"]:
        return select.as_string()
    return SQL("GRANT USAGE ON SCHEMA {} TO {}; {}").format(Identifier(schema), role, select).as_string()
