"""The widest rows, by PostgreSQL's statistics, against the largest message that NATS takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ditto.check.finding import Finding, bad, named, ok
from ditto.config import Nats
from ditto.hints import nats_command
from ditto.sinks.jetstream.message_size import LARGEST_IN_FILE, Largest
from ditto.source.published_tables import Table
from ditto.source.sql import Control
from ditto.units import size

_JSON: Final = 1.5
"""Factor by which a value is longer as JSON: quotes, escapes, base64."""
_SPREAD: Final = 4
"""Factor by which a table's widest row may be wider than the mean; the statistics do not have it."""
_TIMEOUT_S: Final = 10.0

# avg_width counts 18 bytes for a value that was moved out of the row; those are in the TOAST table.
_WIDTHS: Final = """
SELECT n.nspname AS schema, c.relname AS name, c.relreplident = 'f' AS is_full,
       coalesce(s.width, 0)::float8 AS width, coalesce(s.names, 0)::float8 AS names,
       coalesce(s.is_seen, false) AS is_seen,
       CASE WHEN c.reltoastrelid = 0 OR c.reltuples < 1 THEN 0  -- below 1: empty, or never looked at
            ELSE pg_catalog.pg_relation_size(c.reltoastrelid) / c.reltuples END::float8 AS toasted
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
       SELECT pg_catalog.sum(st.avg_width) AS width, pg_catalog.sum(pg_catalog.length(st.attname) + 6) AS names,
              true AS is_seen
         FROM pg_catalog.pg_stats AS st WHERE st.schemaname = n.nspname AND st.tablename = c.relname
       HAVING pg_catalog.count(*) > 0) AS s ON true
 WHERE c.relkind = 'r' AND (n.nspname, c.relname) IN (
       SELECT * FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])))"""


async def check_widths(
    control: Control, config: Nats, tables: Sequence[Table], largest: Largest, *, oversize: str = "stop"
) -> Finding:
    """An estimate: the mean row of each table, and what a row several times as wide would take.

    `oversize` is `events.oversize`.
    """
    check = "nats.max_payload"
    why = "an event that is larger stops Ditto, and the slot retains WAL until the limit is raised"
    rows = await control.fetch(
        _WIDTHS,
        [[schema for schema, _ in tables], [name for _, name in tables]],
        doing="read the tables' statistics",
        timeout_s=_TIMEOUT_S,
    )
    limit = f"the largest message is {size(largest.size)} ({largest.limit})"
    means = {
        f"{row['schema']}.{row['name']}": (row["width"] + row["toasted"]) * _JSON * (1 + row["is_full"]) + row["names"]
        for row in rows
        if row["is_seen"] or row["toasted"]
    }
    unseen = [f"{row['schema']}.{row['name']}" for row in rows if not row["is_seen"]]
    note = f"; no statistics of {named(unseen, limit=3)} (not analyzed, or no SELECT on them)" if unseen else ""
    if not means:
        return ok(check, f"{limit}{note or '; no table to compare it with'}", why)
    widest = max(means, key=lambda name: means[name])
    what = f"{limit}; rows of {widest} make events of {size(means[widest])} on average{note}"
    if oversize != "stop":
        return ok(check, f"{what}; events.oversize: {oversize} decides about those that are larger", why)
    if _SPREAD * means[widest] <= largest.size:
        return ok(check, what, why)
    # A limit that is raised only a little would soon be too low again.
    wanted = min(max(4 << 20, int(2 * _SPREAD * means[widest])), LARGEST_IN_FILE)
    command = configuration = None
    if wanted <= largest.size:
        why = f"{why}; files take no larger message than {size(LARGEST_IN_FILE)}: leave wide columns unpublished"
    elif largest.limit == "max_msg_size":
        command = nats_command(config, "stream", "edit", config.stream, f"--max-msg-size={wanted}", "--force")
    else:
        configuration = f"max_payload: {wanted}   # then: nats-server --signal reload"
    is_certain = means[widest] > largest.size
    level: Literal["warning", "error"] = "error" if is_certain else "warning"
    if not is_certain:
        what += ": some may be too large"
    return bad(level, check, what, why, command=command, nats_server=configuration)
