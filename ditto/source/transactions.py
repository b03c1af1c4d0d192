"""The transactions that are open: a slot cannot be created before they end, and its WAL is kept since they began."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ditto.source.sql import Control

# A transaction that has written holds a lock on its own xid. Every role sees who holds that one; pg_stat_activity hides
# the xids, ages and states of other roles from a role without pg_read_all_stats.
_OPEN: Final = """
SELECT t.pid, t.gid, t.database, t.application, t.state, t.age_s
  FROM (SELECT l.pid, NULL AS gid, a.datname::text AS database, nullif(a.application_name, '') AS application, a.state,
               extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8 AS age_s,
               pg_catalog.max(pg_catalog.age(l.transactionid)) AS xids
          FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
         WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
           AND l.pid <> pg_catalog.pg_backend_pid()
         GROUP BY 1, 2, 3, 4, 5, 6
        UNION ALL
        SELECT NULL, gid, database::text, NULL, 'prepared',
               extract(epoch FROM pg_catalog.clock_timestamp() - prepared)::float8, pg_catalog.age(transaction)
          FROM pg_catalog.pg_prepared_xacts) AS t
 ORDER BY t.xids DESC LIMIT %s"""


class OpenTransaction(Struct, frozen=True, kw_only=True):
    """A transaction of any database that has written something and has not ended, or is prepared."""

    pid: int | None
    """Of its session; None for a prepared transaction, which has none."""
    gid: str | None
    """The name of a prepared transaction."""
    database: str | None
    application: str | None
    state: str | None
    """As pg_stat_activity has it, `idle in transaction` for one; None where this role may not see it."""
    age_s: float | None
    """Since it began, or was prepared; None where this role may not see it."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"prepared transaction {self.gid!r}" if self.pid is None else f"PID {self.pid}"


async def open_transactions(control: Control, *, limit: int) -> list[OpenTransaction]:
    """Those that have written, and those that are prepared, the oldest first."""
    rows = await control.fetch(_OPEN, [limit], doing="look up the open transactions")
    return [OpenTransaction(**row) for row in rows]
