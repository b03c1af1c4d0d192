"""Which types look like arrays, but must not be read as such: pgoutput tells no more of a type than its name."""

from __future__ import annotations

from typing import Final

from ditto.source.sql import Control

# Lower OIDs are built in.
_QUERY: Final = """
    SELECT n.nspname AS namespace, a.typname AS name FROM pg_catalog.pg_type AS a
    JOIN pg_catalog.pg_namespace AS n ON n.oid = a.typnamespace
    LEFT JOIN pg_catalog.pg_type AS e ON e.typarray = a.oid
    WHERE a.oid >= 16384 AND pg_catalog.left(a.typname, 1) = '_' AND e.typdelim IS DISTINCT FROM ','"""


async def not_arrays(control: Control) -> frozenset[tuple[str, str]]:
    """Schema and name of the types that begin with `_` but are no arrays, or separate elements otherwise than by comma.

    As the catalogue is now: a type that is created later is not among them.
    """
    rows = await control.fetch(_QUERY, doing="look up array types")
    return frozenset((row["namespace"], row["name"]) for row in rows)
