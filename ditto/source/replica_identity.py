"""Replica identities and keys: by which columns PostgreSQL, and those who read the events, tell rows apart.

An index that is deferrable is neither: PostgreSQL then refuses the application's UPDATE and DELETE on a published
table, and for a moment inside a transaction two rows may have the same key.
https://www.postgresql.org/docs/current/logical-replication-publication.html#LOGICAL-REPLICATION-PUBLICATION-REPLICA-IDENTITY
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ditto.source.published_tables import Table
from ditto.source.sql import Control

# The index that is the identity of the table `c`: at most one. The condition is PostgreSQL's own.
_IDENTITY: Final = """
    i.indrelid = c.oid AND i.indisvalid AND i.indisunique AND i.indimmediate
    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END"""

# From 18 on an identity must not hold generated columns that the publication leaves out, as it does by default.
_UNIDENTIFIED: Final = f"""
SELECT n.nspname AS schema, c.relname AS name, CASE WHEN c.relispartition THEN ARRAY(
       SELECT rn.nspname || '.' || r.relname FROM pg_catalog.pg_partition_ancestors(c.oid) AS a
         JOIN pg_catalog.pg_class AS r ON r.oid = a.relid
         JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace) END AS roots
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.array_agg(a.attnum), '{{}}') AS generated
          FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped
           AND pg_catalog.current_setting('server_version_num')::int >= 180000) AS g
 WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND CASE c.relreplident WHEN 'f' THEN g.generated <> '{{}}' ELSE NOT EXISTS (
       SELECT FROM pg_catalog.pg_index AS i WHERE {_IDENTITY}
          AND NOT g.generated && (i.indkey::int2[])[:i.indnkeyatts - 1]) END
 ORDER BY 1, 2"""  # noqa: S608  constants

# A publication says so of a table, or of the partitioned table under whose name its rows come: hence by names.
_LIMITED: Final = f"""
SELECT n.nspname AS schema, c.relname AS name, l.prattrs IS NOT NULL AND (
       c.relreplident = 'f' OR NOT identity.names <@ listed.names) AS is_list
  FROM pg_catalog.pg_publication AS p JOIN pg_catalog.pg_publication_rel AS m ON m.prpubid = p.oid
 CROSS JOIN LATERAL pg_catalog.jsonb_to_record(pg_catalog.to_jsonb(m)) AS l (prqual text, prattrs int2[])
 CROSS JOIN LATERAL (SELECT m.prrelid AS oid UNION
        SELECT t.relid FROM pg_catalog.pg_partition_tree(m.prrelid) AS t WHERE t.isleaf AND p.pubviaroot) AS leaf
  JOIN pg_catalog.pg_class AS c ON c.oid = leaf.oid AND c.relkind = 'r'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index AS i
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
          AND a.attnum = ANY ((i.indkey::int2[])[:i.indnkeyatts - 1]) WHERE {_IDENTITY})) AS identity (names)
 CROSS JOIN LATERAL (SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = m.prrelid AND a.attnum = ANY (l.prattrs))) AS listed (names)
 CROSS JOIN LATERAL (SELECT ARRAY(SELECT a.attname::text
         FROM pg_catalog.regexp_matches(l.prqual, ':varattno (\\d+)', 'g') AS v (numbers)
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid = m.prrelid
          AND a.attnum::text = v.numbers[1])) AS filtered (names)
 WHERE p.pubname = %s AND (p.pubupdate OR p.pubdelete) AND (
       l.prattrs IS NOT NULL AND (c.relreplident = 'f' OR NOT identity.names <@ listed.names)
       OR l.prqual IS NOT NULL AND c.relreplident <> 'f' AND NOT filtered.names <@ identity.names)
 ORDER BY 1, 2"""  # noqa: S608  constants


async def tables_without_identity(control: Control, tables: Sequence[Table] | None) -> list[Table]:
    """Tables (of these, or of all) on which a publication would make UPDATE and DELETE fail."""
    rows = await control.fetch(_UNIDENTIFIED, doing="look up replica identities")
    wanted = None if tables is None else {f"{schema}.{name}" for schema, name in tables}
    return [
        (row["schema"], row["name"])
        for row in rows
        if wanted is None
        or f"{row['schema']}.{row['name']}" in wanted
        or not wanted.isdisjoint(row["roots"] or ())  # a partition of a table that is to be published
    ]


async def tables_limited_beyond_identity(control: Control, publication: str) -> dict[Table, bool]:
    """Tables on which this publication makes UPDATE and DELETE fail by a filter or a list of columns.

    A list leaves out a column of the identity (true), or a filter asks for a column that is not in it (false).
    """
    rows = await control.fetch(_LIMITED, [publication], doing="look up row filters and lists of columns")
    return {(row["schema"], row["name"]): row["is_list"] for row in rows}


async def primary_key(control: Control, relation_oid: int) -> list[str]:
    """The columns of a table's primary key as it is now; empty where it has none, or one that is deferrable."""
    rows = await control.fetch(
        "SELECT a.attname AS name FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_attribute AS a "
        "ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[:i.indnkeyatts - 1]) "
        "WHERE i.indrelid = %s AND i.indisprimary AND i.indimmediate ORDER BY a.attnum",
        [relation_oid],
        doing="look up a primary key",
    )
    return [row["name"] for row in rows]
