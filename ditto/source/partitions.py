"""Under which other names the rows of a partition, or of a partitioned table, may have been sent."""

from __future__ import annotations

from typing import Final

from ditto.source.sql import Control

_QUERY: Final = """
    SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT relid FROM pg_catalog.pg_partition_ancestors(%s)
                    UNION SELECT relid FROM pg_catalog.pg_partition_tree(%s)) AND c.oid <> %s
    ORDER BY 1, 2"""


async def partition_relatives(control: Control, relation_oid: int) -> list[tuple[str, str]]:
    """Schema and name of the partitioned tables above this one and of the partitions below it, as they are now.

    `publish_via_partition_root` decides which name a change has: as it was when the change was written.
    """
    rows = await control.fetch(_QUERY, [relation_oid] * 3, doing="look up partitions")
    return [(row["schema"], row["name"]) for row in rows]
