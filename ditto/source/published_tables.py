"""What a publication publishes, and the tables of the database, from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ditto.config import ACTIONS
from ditto.errors import TableLocked
from ditto.source.sql import Control

_LOCK_TIMEOUT: Final = "1s"
_SET_LOCK_TIMEOUT: Final = "SELECT pg_catalog.set_config('lock_timeout', %s, false)"
_FIRST_WITH_SCHEMAS: Final = 150000
"""PostgreSQL 15 is the first whose publications take whole schemas."""

Table = tuple[str, str]
"""Schema and name."""


class Publication(Struct, frozen=True, kw_only=True):
    """A publication as it is, or as `ditto run` would create it."""

    name: str
    exists: bool
    is_open: bool
    """Tables that are made later come into it by themselves: it is for all tables, or for those of schemas."""
    is_via_root: bool
    """Rows of partitions come under the name of the topmost partitioned table that it contains."""
    actions: frozenset[str]
    tables: list[Table]
    """The names under which rows come."""
    members: frozenset[Table] = frozenset()
    """Partitioned tables that it contains, under any name that their rows come; not those of its schemas."""
    limits: Mapping[Table, str] = MappingProxyType({})
    """By table that has a row filter or a list of columns, a text for these, which is equal as long as they are."""


class Tables(Struct, frozen=True, kw_only=True):
    """Tables of the database."""

    plain: list[Table]
    """Tables, and partitions that have rows."""
    roots: list[Table]
    """Partitioned tables: rows are in their partitions."""
    ancestors: dict[Table, list[Table]]
    """By partition, the partitioned tables that it belongs to."""
    unfit: dict[Table, str]
    """Relations whose changes PostgreSQL never sends: by name, their kind."""

    @property
    def all(self) -> list[Table]:
        """All whose changes can be sent."""
        return self.plain + self.roots

    def leaves(self, root: Table) -> list[Table]:
        """The partitions that hold the rows of a partitioned table."""
        return [table for table in self.plain if root in self.ancestors.get(table, ())]


_UNFIT: Final = MappingProxyType({"v": "a view", "m": "a materialized view", "f": "a foreign table"})


async def look_at_tables(control: Control, *, names: Sequence[str] | None = None) -> Tables:
    """All tables, or those with one of these names, with the partitions below them."""
    ancestors = (
        "SELECT r.oid, rn.nspname, r.relname FROM pg_catalog.pg_partition_ancestors(c.oid) AS a "
        "JOIN pg_catalog.pg_class AS r ON r.oid = a.relid "
        "JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace"
    )
    only = f"AND (c.relname = ANY(%s) OR c.relispartition AND EXISTS ({ancestors} WHERE r.relname = ANY(%s))) "
    rows = await control.fetch(
        "SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind, c.relpersistence = 'p' AS is_logged, "  # noqa: S608  constants
        "CASE WHEN c.relispartition THEN ARRAY(SELECT pg_catalog.jsonb_build_array(up.nspname, up.relname) "
        f"  FROM ({ancestors}) AS up WHERE up.oid <> c.oid) END AS ancestors "
        "FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' "
        f"{'' if names is None else only}ORDER BY 1, 2",
        [] if names is None else [list(names), list(names)],
        doing="list the tables",
    )
    fit = [row for row in rows if row["kind"] in "rp" and row["is_logged"]]
    return Tables(
        plain=[_name(row) for row in fit if row["kind"] == "r"],
        roots=[_name(row) for row in fit if row["kind"] == "p"],
        ancestors={
            _name(row): [(schema, name) for schema, name in row["ancestors"]] for row in fit if row["ancestors"]
        },
        unfit={
            _name(row): _UNFIT.get(row["kind"], "an unlogged table")
            for row in rows
            if row["kind"] in _UNFIT or not row["is_logged"]
        },
    )


async def look_at_publication(control: Control, name: str) -> Publication:
    """The publication; `exists` is false where there is none. Raises TableLocked, as `published_tables` does."""
    found = await find_publication(control, name)
    return replace(found, tables=await published_tables(control, name)) if found.exists else found


async def find_publication(control: Control, name: str) -> Publication:
    """The same without its tables, which a lock may hide."""
    doing = f"look up publication {name}"
    # By schemas only where there can be such; as JSON, since before 15 a publication has no filters and no lists.
    schemas = (
        "EXISTS (SELECT FROM pg_catalog.pg_publication_namespace AS pn WHERE pn.pnpubid = p.oid)"
        if control.version >= _FIRST_WITH_SCHEMAS
        else "false"
    )
    rows = await control.fetch(
        "SELECT pubinsert AS insert, pubupdate AS update, pubdelete AS delete, pubtruncate AS truncate, "  # noqa: S608
        f"pubviaroot AS is_via_root, puballtables OR {schemas} AS is_open, "
        "ARRAY(SELECT pg_catalog.jsonb_build_array(n.nspname, c.relname) FROM pg_catalog.pg_class AS c "
        "  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'p' AND (p.puballtables "
        "  OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS m WHERE m.prpubid = p.oid AND m.prrelid = c.oid)) "
        ") AS members, "
        "ARRAY(SELECT pg_catalog.jsonb_build_array(n.nspname, c.relname, "
        "  pg_catalog.md5(pg_catalog.concat(l.prqual, '/', l.prattrs))) "
        "  FROM pg_catalog.pg_publication_rel AS m JOIN pg_catalog.pg_class AS c ON c.oid = m.prrelid "
        "  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "  CROSS JOIN LATERAL pg_catalog.jsonb_to_record(pg_catalog.to_jsonb(m)) AS l (prqual text, prattrs text) "
        "  WHERE m.prpubid = p.oid AND (l.prqual IS NOT NULL OR l.prattrs IS NOT NULL)) AS limits "
        "FROM pg_catalog.pg_publication AS p WHERE pubname = %s",
        [name],
        doing=doing,
    )
    if not rows:
        return Publication(
            name=name, exists=False, is_open=False, is_via_root=False, actions=frozenset(ACTIONS), tables=[]
        )
    (row,) = rows
    return Publication(
        name=name,
        exists=True,
        is_open=row["is_open"],
        is_via_root=row["is_via_root"],
        actions=frozenset(action for action in ACTIONS if row[action]),
        tables=[],
        members=frozenset((schema, table) for schema, table in row["members"]),
        limits={(schema, table): digest for schema, table, digest in row["limits"]},
    )


async def published_tables(control: Control, publication: str) -> list[Table]:
    """The tables of the publication, at this moment.

    Raises TableLocked after a while: from 16 on PostgreSQL opens each table for that, and an ALTER TABLE that runs, or
    waits, keeps it out. Nothing else may wait for that behind it.
    """
    doing = f"list the tables of publication {publication}"
    await control.fetch(_SET_LOCK_TIMEOUT, [_LOCK_TIMEOUT], doing=doing)
    try:
        rows = await control.fetch(
            "SELECT schemaname AS schema, tablename AS name FROM pg_catalog.pg_publication_tables WHERE pubname = %s "
            "ORDER BY 1, 2",
            [publication],
            doing=doing,
        )
    except TableLocked:
        await control.fetch(_SET_LOCK_TIMEOUT, ["0"], doing=doing)
        raise
    await control.fetch(_SET_LOCK_TIMEOUT, ["0"], doing=doing)
    return [_name(row) for row in rows]


def _name(row: dict[str, Any]) -> Table:
    return row["schema"], row["name"]
