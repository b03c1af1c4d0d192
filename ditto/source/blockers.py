"""Who keeps a snapshot waiting: transactions that have not ended, and holders of a lock on its table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from ditto.errors import TableLocked
from ditto.source.sql import Control
from ditto.units import span

LOCK_TIMEOUT: Final = "1s"
"""How long a snapshot queues for a lock on its table. Others may queue behind it for so long, not longer."""
_PAUSE_S: Final = 0.5
_HALF: Final = 1 << 31
_MASK: Final = (1 << 32) - 1

T = TypeVar("T")


class Blocker(NamedTuple):
    """A transaction that something waits for."""

    pid: int | None
    """Of its session; None for a prepared transaction, which has none."""
    xid: int | None
    """With 32 bits; None where it has not written yet."""
    age_s: float | None
    """Since it began, or was prepared; None where this role may not see it."""
    what: str
    """Its name and state, for people."""

    @property
    def text(self) -> str:
        """All of it in one line."""
        # A prepared one has a name of its own.
        xid = "" if self.xid is None or self.pid is None else f"transaction {self.xid} of "
        age = "" if self.age_s is None else f", open for {span(self.age_s)}"
        return f"{xid}{self.what}{age}"


Tell = Callable[[Sequence[Blocker]], None]
"""Takes those that are waited for; an empty sequence says that the wait is over."""


def nobody(_: Sequence[Blocker]) -> None:
    """For callers that do not want to know."""


_WRITERS: Final = """
SELECT l.pid, NULL AS gid, l.transactionid::text::int8 AS xid, a.state,
       extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8 AS age_s
  FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid IS NOT NULL
   AND l.pid <> pg_catalog.pg_backend_pid()
 UNION ALL
SELECT NULL, gid, transaction::text::int8, 'prepared',
       extract(epoch FROM pg_catalog.clock_timestamp() - prepared)::float8 FROM pg_catalog.pg_prepared_xacts
 ORDER BY age_s DESC NULLS LAST"""

_HOLDERS: Final = """
WITH RECURSIVE tree (oid) AS (
    SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = %s AND c.relname = %s UNION ALL
    SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.oid),
     relation (oid) AS (
    SELECT oid FROM tree UNION ALL
    SELECT i.indexrelid FROM tree JOIN pg_catalog.pg_index AS i ON i.indrelid = tree.oid)
SELECT DISTINCT l.pid, p.gid, p.transaction::text::int8 AS xid, a.state,
       extract(epoch FROM pg_catalog.now() - coalesce(a.xact_start, p.prepared))::float8 AS age_s
  FROM pg_catalog.pg_locks AS l JOIN relation ON relation.oid = l.relation
  LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
  LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON l.pid IS NULL
   AND p.transaction::text = pg_catalog.split_part(l.virtualtransaction, '/', 2)
 WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
 ORDER BY age_s DESC NULLS LAST"""


async def writers_before(control: Control, xmax: int | None = None) -> list[Blocker]:
    """The transactions of all databases that have written and not ended; only those before `xmax`, where it is given.

    `xmax` has 64 bits, as in a snapshot.
    """
    rows = await control.fetch(_WRITERS, doing="look up the open transactions")
    return [_blocker(row) for row in rows if xmax is None or (row["xid"] - xmax) & _MASK >= _HALF]


async def holders_of(control: Control, schema: str, table: str) -> list[Blocker]:
    """Those who keep readers of the table waiting, or would: with a lock, or queueing for one."""
    rows = await control.fetch(_HOLDERS, [schema, table], doing=f"see who locks table {schema}.{table}")
    return [_blocker(row) for row in rows]


async def wait_for_lock(
    work: Callable[[], Awaitable[T]],
    control: Callable[[], Control],
    name: tuple[str, str],
    *,
    tell: Tell,
    patience_s: float | None = None,
) -> T:
    """The result of `work`, tried again and again while it raises TableLocked; in between, nothing is queued.

    Raises TableLocked only where `patience_s` is given and over.
    """
    loop = asyncio.get_running_loop()
    deadline = None if patience_s is None else loop.time() + patience_s
    has_waited = False
    while True:
        try:
            result = await work()
        except TableLocked:
            if deadline is not None and loop.time() >= deadline:
                raise
            tell(await holders_of(control(), *name) or [Blocker(None, None, None, "the holder of a lock")])
            has_waited = True
            await asyncio.sleep(_PAUSE_S)
            continue
        if has_waited:
            tell(())
        return result


def _blocker(row: dict[str, Any]) -> Blocker:
    if row["gid"] is not None:
        what = f"prepared transaction {row['gid']!r}"
    else:
        what = f"PID {row['pid']}" + (f" ({row['state']})" if row["state"] else "")
    return Blocker(row["pid"], row["xid"], row["age_s"], what)
