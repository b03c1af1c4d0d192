"""Makes the copy anew from the tables. Ditto has to be streaming: run this after it was started, never before.

Usage: NATS_URL=… COPY=postgres://… TABLES=postgres://… python reload.py
Stop the consumer first; start it afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from typing import Any

import nats
import psycopg
from copy_of_tables import STREAM
from nats.js.errors import NotFoundError
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb, set_json_dumps

PRIMARY_KEY = SQL(
    "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
    "WHERE i.indisprimary AND i.indrelid = %s::regclass ORDER BY array_position(i.indkey, a.attnum)"
)


async def stream_now() -> tuple[str, int]:
    """When the stream was made, and its last sequence. A durable consumer would begin where it was: it is removed."""
    client = await nats.connect(os.environ["NATS_URL"])
    jetstream = client.jetstream()
    info = await jetstream.stream_info(STREAM)
    with suppress(NotFoundError):
        await jetstream.delete_consumer(STREAM, "copy")
    await client.close()
    return str(info.created), info.state.last_seq


def wait_for_running_transactions(tables: psycopg.Connection[Any]) -> None:
    """What is in the stream already may come from a transaction that others do not see yet, for a moment."""
    ((newest,),) = tables.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchall()
    have_ended = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8"
    while tables.execute(have_ended, [newest]).fetchone() != (True,):
        time.sleep(0.1)


def main() -> None:
    # 1. The stream's last sequence; 2. then the tables, as they are at one moment after it. What happens in between is
    # in both, and comes again as events, in order: the copy ends up equal. The other way round, it would be in neither.
    created, sequence = asyncio.run(stream_now())
    with (
        psycopg.connect(os.environ["TABLES"], client_encoding="utf8", autocommit=True) as tables,
        psycopg.connect(os.environ["COPY"]) as copy,  # one transaction
    ):
        wait_for_running_transactions(tables)
        tables.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        copy.execute("DELETE FROM rows")
        published = tables.execute("SELECT DISTINCT schemaname, tablename FROM pg_publication_tables").fetchall()
        for schema, name in published:
            table = Identifier(schema, name)
            key = [column for (column,) in tables.execute(PRIMARY_KEY, [table.as_string()])]
            cursor = tables.execute(SQL("SELECT * FROM {}").format(table))
            columns = [column.name for column in cursor.description or ()]
            for values in cursor:
                row = dict(zip(columns, values, strict=True))
                copy.execute(
                    "INSERT INTO rows VALUES (%s, %s, %s, %s)",
                    [schema, name, Jsonb([row[column] for column in key]), Jsonb(row)],
                )
        copy.execute(
            "INSERT INTO progress VALUES (%s, %s, %s) ON CONFLICT (stream) DO UPDATE "
            "SET created = excluded.created, sequence = excluded.sequence",
            [STREAM, created, sequence],
        )


if __name__ == "__main__":
    set_json_dumps(lambda value: json.dumps(value, default=str))  # numeric as text, as in the events
    main()
