"""A copy of the tables in another PostgreSQL database (copy.sql), changed by one event after the other."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from messages import events_in
from psycopg.types.json import Jsonb

STREAM = os.environ.get("STREAM", "DITTO")


class StreamReplaced(Exception):
    """The stream is not the one that the copy was made from: reload the copy."""


def stored_sequence(copy: psycopg.Connection[Any], created: str) -> int:
    """The sequence of the last message that is in the copy; 0 for an empty copy.

    Inside a transaction the row stays locked, so that two processes cannot both take the same message.
    """
    copy.execute("INSERT INTO progress VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", [STREAM, created])
    query = "SELECT created, sequence FROM progress WHERE stream = %s FOR UPDATE"
    ((made_from, sequence),) = copy.execute(query, [STREAM]).fetchall()
    if made_from != created:
        raise StreamReplaced(f"stream {STREAM} of {created} is not that of {made_from}: reload the copy")
    return int(sequence)


def store(copy: psycopg.Connection[Any], created: str, sequence: int, data: bytes) -> None:
    """Apply a message and note its sequence, in one transaction. A message that was applied before changes nothing."""
    with copy.transaction():
        if sequence <= stored_sequence(copy, created):
            return  # a redelivery
        for event in events_in(data):
            if "action" in event:  # Ditto's own messages (checkpoints, descriptions of tables) have none
                apply(copy, event)
        copy.execute("UPDATE progress SET sequence = %s WHERE stream = %s", [sequence, STREAM])


def apply(copy: psycopg.Connection[Any], event: dict[str, Any]) -> None:
    """Make the change of one event."""
    table = (event["schema"], event["table"])
    if event["action"] == "TRUNCATE":
        copy.execute("DELETE FROM rows WHERE schema_name = %s AND table_name = %s", table)
        return
    new, old = event["data"], event["dataOld"]
    primary_key = event["meta"]["primaryKey"]
    # dataOld has the old key where there is no new row, and where the key has changed; else the key is in data.
    new_key = [{**old, **new}[column] for column in primary_key]
    old_key = [{**new, **old}[column] for column in primary_key]
    removed = copy.execute(
        "DELETE FROM rows WHERE schema_name = %s AND table_name = %s AND key = ANY(%s) RETURNING key = %s, row",
        [*table, [Jsonb(old_key), Jsonb(new_key)], Jsonb(old_key)],
    ).fetchall()
    if event["action"] == "DELETE":
        return
    before: dict[str, Any] = next((row for is_old, row in removed if is_old), {})
    # Large values that did not change are not in the event: they stay as they were.
    kept = {column: before[column] for column in event.get("unchanged", ()) if column in before}
    copy.execute("INSERT INTO rows VALUES (%s, %s, %s, %s)", [*table, Jsonb(new_key), Jsonb({**new, **kept})])
