"""Where a preview gets changes from: a temporary slot, a copy of the pipeline's own where there is that.

The pipeline's slot itself is never read: PostgreSQL would count its transactions as read, by which Ditto sees at its
first start whether another one has read the slot before.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from ditto.errors import ConnectionLost, SourceError
from ditto.lsn import format_lsn
from ditto.source.sql import Control

_POLL_S: Final = 0.2
_AT_ONCE: Final = 1_000
_MOST: Final = 20_000
"""Messages that are read at once; what comes behind them in a larger transaction is left out."""
_READ_TIMEOUT_S: Final = 120.0
_FIND: Final = """
SELECT active AS is_read FROM pg_catalog.pg_replication_slots
 WHERE slot_name = %s AND plugin = 'pgoutput' AND database = pg_catalog.current_database()
   AND confirmed_flush_lsn IS NOT NULL AND wal_status <> 'lost'"""
_COPY: Final = "SELECT pg_catalog.pg_copy_logical_replication_slot(%s::name, %s::name, true, 'pgoutput')"
_CREATE: Final = "SELECT pg_catalog.pg_create_logical_replication_slot(%s::name, 'pgoutput', true)"
_READ: Final = """
SELECT data FROM pg_catalog.pg_logical_slot_get_binary_changes(
       %s::name, %s::pg_lsn, %s::int4, 'proto_version', '1', 'publication_names', %s, 'messages', 'true')
       WITH ORDINALITY AS found (lsn, xid, data, number)
 WHERE number <= %s OR pg_catalog.get_byte(data, 0) = pg_catalog.ascii('C')"""  # of a large transaction the Commit, too


class Copied(NamedTuple):
    """The temporary slot; it is gone with the connection that made it."""

    name: str
    is_copy: bool
    """It begins where the pipeline's slot does."""
    is_read: bool
    """Somebody reads the pipeline's slot."""


async def make_slot(control: Control, slot: str, *, wait_s: float) -> Copied:
    """A temporary slot. Without one to copy PostgreSQL waits for the transactions that are open. Raises SourceError."""
    name, doing = f"ditto_preview_{secrets.token_hex(6)}", "make a temporary slot"
    found = await control.fetch(_FIND, [slot], doing="look at the slot")
    if found:
        await control.fetch(_COPY, [slot, name], doing=f"copy slot {slot}")
        return Copied(name, is_copy=True, is_read=found[0]["is_read"])
    try:
        await control.fetch(_CREATE, [name], doing=doing, timeout_s=wait_s)
    except ConnectionLost as error:
        raise SourceError(
            f"cannot {doing} within {wait_s:g} s: PostgreSQL waits for the transactions that are open",
            hint="end them, wait longer (--wait), or look at rows: --table",
        ) from error
    return Copied(name, is_copy=False, is_read=False)


async def there(control: Control, copied: Copied, publication: str) -> AsyncIterator[list[bytes]]:
    """The messages that are there by now, from the oldest on; each list ends with a transaction."""
    end = format_lsn(await control.wal_lsn())
    while found := await _read(control, copied, publication, end=end, count=_AT_ONCE):
        yield found


async def _read(control: Control, copied: Copied, publication: str, *, end: str | None, count: int) -> list[bytes]:
    """The next messages, about so many, to the end of a transaction; those before `end` alone where it is given."""
    quoted = '"{}"'.format(publication.replace('"', '""'))
    arguments = [copied.name, end, count, quoted, _MOST]
    rows = await control.fetch(_READ, arguments, doing="read the changes", timeout_s=_READ_TIMEOUT_S)
    return [bytes(row["data"]) for row in rows]


async def coming(control: Control, copied: Copied, publication: str, *, wait_s: float) -> AsyncIterator[list[bytes]]:
    """Those that come until so many seconds have passed; each list ends with a transaction."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := await _read(control, copied, publication, end=None, count=_AT_ONCE):
            yield found
        await asyncio.sleep(_POLL_S)
