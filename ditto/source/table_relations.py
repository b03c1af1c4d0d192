"""Tables as the catalogue has them now, in the shape of the Relation messages that pgoutput sends of them.

Rules of tables are checked against these before anything runs. No lock on a table is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from msgspec import Struct

from ditto.decoding.messages import Column, Relation
from ditto.source.published_tables import Table
from ditto.source.sql import Control

_FIRST_TYPE_MESSAGE: Final = 10000
"""pgoutput sends a Type message for types from this OID on."""

# Arguments: schemas, names, publication. A list of columns is none where all tables or a whole schema is published.
_COLUMNS: Final = """
SELECT n.nspname::text AS schema, c.relname::text AS table, c.oid::int8 AS oid, c.relreplident::text AS identity,
       c.reltuples::float8 AS estimated_rows, a.attname::text AS name, a.atttypid::int8 AS type_oid,
       a.atttypmod AS typmod, a.attstorage IN ('x', 'e') AS may_be_toasted, base.namespace, base.name AS type_name,
       c.relreplident = 'f' OR a.attnum = ANY (identity.numbers) AS is_key
  FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]))
       WITH ORDINALITY AS wanted (schema, name, place)
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name AND c.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_publication AS p ON p.pubname = %s
  LEFT JOIN pg_catalog.pg_publication_rel AS m ON m.prpubid = p.oid AND m.prrelid = c.oid
 CROSS JOIN LATERAL (SELECT CASE WHEN NOT p.puballtables THEN ARRAY(
       SELECT pg_catalog.jsonb_array_elements_text(listed)::int2) END AS numbers
  FROM (SELECT pg_catalog.to_jsonb(m) -> 'prattrs' AS listed) AS l
 WHERE pg_catalog.jsonb_typeof(listed) = 'array' UNION ALL SELECT NULL LIMIT 1) AS listed
 CROSS JOIN LATERAL (SELECT ARRAY(SELECT k.number::int2 FROM pg_catalog.pg_index AS i
       CROSS JOIN LATERAL pg_catalog.unnest((i.indkey::int2[])[:i.indnkeyatts - 1]) AS k (number)
       WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
         AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
       ) AS numbers) AS identity
 CROSS JOIN LATERAL (
       WITH RECURSIVE each (kind, base, namespace, name) AS (
           SELECT t.typtype, t.typbasetype, t.typnamespace, t.typname FROM pg_catalog.pg_type AS t
            WHERE t.oid = a.atttypid UNION ALL
           SELECT t.typtype, t.typbasetype, t.typnamespace, t.typname FROM each
             JOIN pg_catalog.pg_type AS t ON t.oid = each.base AND each.kind = 'd')
       SELECT tn.nspname::text AS namespace, each.name::text AS name FROM each
         JOIN pg_catalog.pg_namespace AS tn ON tn.oid = each.namespace WHERE each.kind <> 'd') AS base
 WHERE CASE WHEN listed.numbers IS NOT NULL THEN a.attnum = ANY (listed.numbers)
       ELSE a.attgenerated = '' OR a.attgenerated = 's' AND pg_catalog.to_jsonb(p) ->> 'pubgencols' = 's' END
 ORDER BY wanted.place, a.attnum"""


class FoundTable(Struct, frozen=True, kw_only=True):
    """A table, as a publication would send it."""

    relation: Relation
    toasted: frozenset[str]
    """The columns whose values may be stored apart: an UPDATE that leaves them alone does not carry them."""
    estimated_rows: float
    """Negative where nothing is known."""


async def read_relations(control: Control, publication: str, tables: Sequence[Table]) -> list[FoundTable]:
    """Those of the tables that exist, with the columns that the publication has, or would have."""
    if not tables:
        return []
    arguments = [[schema for schema, _ in tables], [name for _, name in tables], publication]
    rows = await control.fetch(_COLUMNS, arguments, doing="look at the columns of tables")
    return [_found(list(group)) for _, group in groupby(rows, key=lambda row: row["oid"])]


def _found(rows: list[dict[str, Any]]) -> FoundTable:
    first = rows[0]
    relation = Relation(
        oid=first["oid"],
        namespace=first["schema"],
        name=first["table"],
        replica_identity=first["identity"],
        columns=tuple(map(_column, rows)),
    )
    toasted = frozenset(row["name"] for row in rows if row["may_be_toasted"])
    return FoundTable(relation=relation, toasted=toasted, estimated_rows=first["estimated_rows"])


def _column(row: dict[str, Any]) -> Column:
    has_type = row["type_oid"] >= _FIRST_TYPE_MESSAGE
    return Column(
        name=row["name"],
        type_oid=row["type_oid"],
        typmod=row["typmod"],
        is_key=row["is_key"],
        type_namespace=row["namespace"] if has_type and row["namespace"] != "pg_catalog" else "",
        type_name=row["type_name"] if has_type else "",
    )
