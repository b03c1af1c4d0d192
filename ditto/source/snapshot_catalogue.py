"""Queries about one table, for a snapshot of it: how a publication publishes it, its columns, its key, its fingerprint.

pg_publication_tables is not asked: from PostgreSQL 16 on it opens every table of every publication, and waits for every
lock on one. What pgoutput does with these rows of the catalogue is in get_rel_sync_entry() of
https://github.com/postgres/postgres/blob/master/src/backend/replication/pgoutput/pgoutput.c.
"""

from __future__ import annotations

from typing import Final

_FIRST_WITH_LIMITS: Final = 150000
"""The first with row filters, lists of columns, and publications of whole schemas."""

FIND: Final = """
SELECT c.oid::int8 AS oid, c.relkind::text AS kind, c.relpersistence = 'p' AS is_logged, current_user::text AS role,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use_schema,
       coalesce(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false) AS may_select,
       pg_catalog.row_security_active(c.oid) AS has_row_security, pg_catalog.pg_is_in_recovery() AS is_standby
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""
"""The relation of a schema and a name."""

PUBLICATION: Final = """
SELECT p.oid::int8 AS oid, p.puballtables AS is_for_all, p.pubviaroot AS is_via_root,
       coalesce(pg_catalog.to_jsonb(p) ->> 'pubgencols', 'n') AS generated
  FROM pg_catalog.pg_publication AS p WHERE p.pubname = %s"""

_MEMBERS: Final = """
WITH RECURSIVE up (oid, level) AS (
    SELECT %s::oid, 0 UNION ALL
    SELECT i.inhparent, up.level + 1 FROM up JOIN pg_catalog.pg_class AS c ON c.oid = up.oid AND c.relispartition
      JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = c.oid)
SELECT up.level, n.nspname::text AS namespace, c.relname::text AS name, m.oid IS NOT NULL AS is_member,
       {of_schema} AS is_of_schema{limits}
  FROM up JOIN pg_catalog.pg_class AS c ON c.oid = up.oid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_publication_rel AS m ON m.prpubid = %s AND m.prrelid = c.oid
 CROSS JOIN (SELECT %s::oid) AS p (oid) ORDER BY up.level"""

_OF_SCHEMA: Final = """EXISTS (
       SELECT FROM pg_catalog.pg_publication_namespace AS s WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)"""


def members(version: int) -> str:
    """The table and those above it, as members of a publication. Arguments: table, publication, publication."""
    if version < _FIRST_WITH_LIMITS:
        return _MEMBERS.format(of_schema="false", limits="")
    limits = (
        ", pg_catalog.string_to_array(m.prattrs::text, ' ')::int4[] AS listed, "
        "pg_catalog.pg_get_expr(m.prqual, m.prrelid) AS condition"
    )
    return _MEMBERS.format(of_schema=_OF_SCHEMA, limits=limits)


LEAVES: Final = """
WITH RECURSIVE down (oid) AS (
    SELECT %s::oid UNION ALL
    SELECT i.inhrelid FROM down JOIN pg_catalog.pg_class AS c ON c.oid = down.oid AND c.relkind = 'p'
      JOIN pg_catalog.pg_inherits AS i ON i.inhparent = c.oid)
SELECT n.nspname::text AS namespace, c.relname::text AS name, c.relreplident::text AS replica_identity,
       c.relkind = 'r' AND c.relpersistence = 'p' AS is_fit
  FROM down JOIN pg_catalog.pg_class AS c ON c.oid = down.oid AND c.relkind <> 'p'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 1, 2"""
"""The partitions of a table that hold its rows; or the table itself."""

COLUMNS: Final = """
SELECT a.attnum::int4 AS number, a.attname::text AS name, a.atttypid::int8 AS type_oid, a.atttypmod AS typmod,
       a.attgenerated::text AS generated, base.oid::int8 AS base_oid, base.namespace, base.name AS type_name,
       base.kind AS base_kind
  FROM pg_catalog.pg_attribute AS a CROSS JOIN LATERAL (
       WITH RECURSIVE each (oid, kind, base, namespace, name) AS (
           SELECT t.oid, t.typtype, t.typbasetype, t.typnamespace, t.typname FROM pg_catalog.pg_type AS t
            WHERE t.oid = a.atttypid UNION ALL
           SELECT t.oid, t.typtype, t.typbasetype, t.typnamespace, t.typname FROM each
             JOIN pg_catalog.pg_type AS t ON t.oid = each.base AND each.kind = 'd')
       SELECT each.oid, each.kind::text, n.nspname::text AS namespace, each.name::text AS name FROM each
         JOIN pg_catalog.pg_namespace AS n ON n.oid = each.namespace WHERE each.kind <> 'd') AS base
 WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
"""The columns of a table; the type's name is that of the base type."""

IDENTITY: Final = """
SELECT c.relreplident::text AS replica_identity, ARRAY(
       SELECT k.number::int4 FROM pg_catalog.pg_index AS i CROSS JOIN LATERAL
              pg_catalog.unnest((i.indkey::int2[])[:i.indnkeyatts - 1]) AS k (number)
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
          AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
       ) AS numbers
  FROM pg_catalog.pg_class AS c WHERE c.oid = %s"""
"""The replica identity, and the numbers of its columns."""

KEY: Final = """
SELECT k.number::int4 AS number, (i.indoption::int2[])[k.place - 1] & 1 = 1 AS is_descending,
       (i.indoption::int2[])[k.place - 1] & 2 = 2 AS are_nulls_first,
       pg_catalog.concat_ws('/', a.atttypid, oc.oid, co.oid, (i.indoption::int2[])[k.place - 1]) AS "order",
       CASE WHEN co.oid <> a.attcollation THEN pg_catalog.jsonb_build_array(cn.nspname, co.collname) END AS collation,
       ARRAY(SELECT pg_catalog.jsonb_build_array(n.nspname, op.oprname) FROM pg_catalog.pg_amop AS ao
               JOIN pg_catalog.pg_operator AS op ON op.oid = ao.amopopr
               JOIN pg_catalog.pg_namespace AS n ON n.oid = op.oprnamespace
              WHERE ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
                AND ao.amoprighttype = oc.opcintype AND ao.amoppurpose = 's'
              ORDER BY ao.amopstrategy) AS operators
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid
  JOIN pg_catalog.pg_class AS ic ON ic.oid = i.indexrelid JOIN pg_catalog.pg_am AS am ON am.oid = ic.relam
 CROSS JOIN LATERAL pg_catalog.unnest((i.indkey::int2[])[:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, place)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
  JOIN pg_catalog.pg_opclass AS oc ON oc.oid = (i.indclass::oid[])[k.place - 1]
  LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = (i.indcollation::oid[])[k.place - 1]
  LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
 WHERE c.oid = %s AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND am.amname = 'btree'
   AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END ORDER BY k.place"""
"""The columns of the index by which rows are told apart: the identity's, or else the primary key's."""

SAFE_TYPES: Final = """
SELECT t.oid::int8 AS oid, t.typname = 'char' AND n.nspname = 'pg_catalog' AS is_byte
  FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_range AS r ON r.rngtypid = t.oid OR r.rngmultitypid = t.oid
  LEFT JOIN pg_catalog.pg_type AS e ON e.oid = CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE r.rngsubtype END
 WHERE t.typtype IN ('b', 'e', 'r', 'm') AND coalesce(e.typtype, 'b') IN ('b', 'e')
   AND t.oid = ANY (%s::int8[]::oid[])"""
"""Those of the given types whose values can be read from text without a domain's checks, which may be anybody's."""


_FINGERPRINT: Final = """(
WITH RECURSIVE down (oid) AS (
    SELECT {oid}::oid UNION ALL
    SELECT i.inhrelid FROM down JOIN pg_catalog.pg_class AS c ON c.oid = down.oid AND c.relkind = 'p'
      JOIN pg_catalog.pg_inherits AS i ON i.inhparent = c.oid),
     up (oid, level) AS (
    SELECT {oid}::oid, 0 UNION ALL
    SELECT i.inhparent, up.level + 1 FROM up JOIN pg_catalog.pg_class AS c ON c.oid = up.oid AND c.relispartition
      JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = c.oid)
SELECT pg_catalog.md5(pg_catalog.string_agg(part, '|' ORDER BY part COLLATE pg_catalog."C")) FROM (
    SELECT pg_catalog.concat_ws('/', c.oid, n.nspname, c.relname, c.relkind, c.relreplident, c.relfilenode,
           c.reltablespace, c.relpersistence, c.relrowsecurity) AS part
      FROM down JOIN pg_catalog.pg_class AS c ON c.oid = down.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace UNION ALL
    SELECT pg_catalog.concat_ws('/', up.oid, up.level, {schemas})
      FROM up JOIN pg_catalog.pg_class AS c ON c.oid = up.oid UNION ALL
    SELECT pg_catalog.concat_ws('/', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped, a.attgenerated,
           a.attcollation, t.typname, t.typnamespace)
      FROM pg_catalog.pg_attribute AS a LEFT JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
     WHERE a.attrelid = {oid} AND a.attnum > 0 UNION ALL
    SELECT pg_catalog.concat_ws('/', i.indisprimary, i.indisreplident, i.indisvalid, i.indimmediate, i.indkey,
           i.indclass, i.indcollation, i.indoption, i.indnkeyatts)
      FROM pg_catalog.pg_index AS i WHERE i.indrelid = {oid} AND (i.indisprimary OR i.indisreplident) UNION ALL
    SELECT pg_catalog.to_jsonb(p)::text FROM pg_catalog.pg_publication AS p
     WHERE p.pubname = {publication} UNION ALL
    SELECT pg_catalog.to_jsonb(m)::text FROM up
      JOIN pg_catalog.pg_publication AS p ON p.pubname = {publication}
      JOIN pg_catalog.pg_publication_rel AS m ON m.prpubid = p.oid AND m.prrelid = up.oid) AS parts)"""

_OF_SCHEMAS: Final = """ARRAY(
               SELECT s.oid FROM pg_catalog.pg_publication_namespace AS s JOIN pg_catalog.pg_publication AS p
                   ON p.oid = s.pnpubid AND p.pubname = {publication} WHERE s.pnnspid = c.relnamespace)"""


def fingerprint(oid: int, publication: str, version: int) -> str:
    """An expression whose value differs when the table, its rows' files, its partitions or its publication do.

    `publication` is its name, as a literal.
    """
    schemas = _OF_SCHEMAS.format(publication=publication) if version >= _FIRST_WITH_LIMITS else "NULL"
    return _FINGERPRINT.format(oid=oid, publication=publication, schemas=schemas)
