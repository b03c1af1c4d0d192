"""What the catalogue knows of types, and pgoutput does not send: modifiers of domains, labels of enums."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from ditto.source.sql import Control

# A domain is followed to the type below it; its modifier is the one of the outermost domain that has one.
_QUERY: Final = """
    WITH RECURSIVE bases(wanted, type, typmod, depth) AS (
        SELECT w.oid, w.oid, -1, 0 FROM pg_catalog.unnest(%s::pg_catalog.oid[]) AS w(oid)
        UNION ALL
        SELECT b.wanted, t.typbasetype, CASE WHEN b.typmod = -1 THEN t.typtypmod ELSE b.typmod END, b.depth + 1
        FROM bases AS b JOIN pg_catalog.pg_type AS t ON t.oid = b.type WHERE t.typtype = 'd')
    SELECT DISTINCT ON (b.wanted) b.wanted::pg_catalog.int8 AS oid, b.typmod, (
        SELECT pg_catalog.array_agg(e.enumlabel::pg_catalog.text ORDER BY e.enumsortorder)
        FROM pg_catalog.pg_enum AS e
        WHERE e.enumtypid = t.oid OR e.enumtypid = t.typelem AND t.typlen = -1) AS labels
    FROM bases AS b JOIN pg_catalog.pg_type AS t ON t.oid = b.type
    ORDER BY b.wanted, b.depth DESC"""

FIRST_OWN_OID: Final = 16384
"""Types with lower OIDs are built in, and need no look."""


class TypeFacts(NamedTuple):
    """One type."""

    typmod: int = -1
    """Of a domain, the modifier that its columns have; -1 for none."""
    labels: tuple[str, ...] | None = None
    """Of an enum, and of an array of it; None for every other type."""


async def type_facts(control: Control, oids: Collection[int]) -> dict[int, TypeFacts]:
    """By OID, as the catalogue is now; a type that is gone is left out."""
    rows = await control.fetch(_QUERY, [list(oids)], doing="look up types")
    return {
        row["oid"]: TypeFacts(row["typmod"], None if row["labels"] is None else tuple(row["labels"])) for row in rows
    }
