"""What can be known of many tables with one question, before a snapshot reads them: rights, keys and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ditto.source.published_tables import Table
from ditto.source.sql import Control

# The index is the one that tells rows apart, as ditto/source/snapshot_catalogue.py has it; rows are the planner's.
_LOOK: Final = """
SELECT w.schema, w.name, pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use_schema,
       coalesce(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false) AS may_select,
       coalesce(pg_catalog.row_security_active(c.oid), false) AS has_row_security,
       EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisunique
                  AND i.indimmediate AND i.indpred IS NULL
                  AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) AS has_key,
       sizes.rows, sizes.bytes
  FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS w (schema, name)
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name
 CROSS JOIN LATERAL (
       WITH RECURSIVE down (oid) AS (
           SELECT c.oid UNION ALL
           SELECT i.inhrelid FROM down JOIN pg_catalog.pg_class AS d ON d.oid = down.oid AND d.relkind = 'p'
             JOIN pg_catalog.pg_inherits AS i ON i.inhparent = d.oid)
       SELECT coalesce(pg_catalog.sum(greatest(d.reltuples, 0)), 0)::float8 AS rows,
              coalesce(pg_catalog.sum(pg_catalog.int8(d.relpages) * 8192), 0)::float8 AS bytes
         FROM down JOIN pg_catalog.pg_class AS d ON d.oid = down.oid WHERE d.relkind = 'r') AS sizes"""


class Looked(Struct, frozen=True, kw_only=True):
    """What is known of a table."""

    schema: str
    name: str
    may_use_schema: bool
    may_select: bool
    has_row_security: bool
    has_key: bool
    rows: float
    bytes: float

    @property
    def is_open(self) -> bool:
        """Whether the role's privileges are enough; row-level security is a matter of its own."""
        return self.may_use_schema and self.may_select

    @property
    def table(self) -> Table:
        return self.schema, self.name

    @property
    def text(self) -> str:
        return f"{self.schema}.{self.name}"


async def look(control: Control, tables: Sequence[Table]) -> list[Looked]:
    """Look at tables; nothing is read of them and nothing is locked. One that there is not any more is left out."""
    schemas, names = [schema for schema, _ in tables], [name for _, name in tables]
    rows = await control.fetch(_LOOK, [schemas, names], doing="look at the tables of a snapshot")
    return [Looked(**row) for row in rows]
