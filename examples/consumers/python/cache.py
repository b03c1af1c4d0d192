"""A cache of tables in memory: filled by a snapshot of Ditto's, and kept up by the changes, from the first row on.

A row that is in the cache is what the table had at that position of the stream, always. Once the snapshot of a table is
done, a row that is not in the cache is not in the table.

Ditto needs `events.metadata: [primary_key]`, and tables without a key are left out.

Usage: NATS_URL=… python cache.py [RUN]
With the id of a run it begins where that run does, and waits for it; without one at the stream's first message.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from typing import Any

import nats
from messages import events_in
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

STREAM = os.environ.get("STREAM", "DITTO")
PREFIX = os.environ.get("PREFIX", "ditto")


class CachedTable:
    """The rows of one table, by key."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.is_complete = False
        """A row that is not in `rows` is not in the table."""
        self._seen: set[str] | None = None
        """The keys that came since a snapshot of the whole table began; None while there is none."""

    def change(self, event: dict[str, Any]) -> None:
        """Make the change of one event; READ is a row that a snapshot found in the table."""
        if event["action"] == "TRUNCATE":
            self.rows.clear()
            return
        new, old = event["data"], event["dataOld"]
        columns = event["meta"]["primaryKey"]
        old_key = json.dumps([{**new, **old}[column] for column in columns])
        before = self.rows.pop(old_key, {})
        if event["action"] == "DELETE":
            return
        # Large values that did not change are not in the event. Where the row is not here yet, a READ brings it whole.
        unchanged = event.get("unchanged", ())
        kept = {column: before[column] for column in unchanged if column in before}
        if len(kept) < len(unchanged):
            return
        key = json.dumps([new[column] for column in columns])
        self.rows[key] = {**new, **kept}
        if self._seen is not None:
            self._seen.add(key)

    def step(self, snapshot: dict[str, Any]) -> None:
        """Follow a snapshot of this table."""
        if snapshot["state"] == "begun":
            self._seen = None if "where" in snapshot else set()
        elif snapshot["state"] == "done" and self._seen is not None:
            for key in self.rows.keys() - self._seen:  # deleted, and the event of that was lost
                del self.rows[key]
            self._seen, self.is_complete = None, True


class Cache:
    """All tables that have a key."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str], CachedTable] = {}
        self._without_key: set[tuple[str, str]] = set()

    def apply(self, message: dict[str, Any]) -> None:
        """The next message of the stream."""
        if "action" in message:
            about = message
        elif "table" in message.get("snapshot", ()):
            about = message["snapshot"]
        else:
            return  # Ditto's own: a checkpoint, the description of a table, or it concerns a snapshot as a whole.
        name = about["schema"], about["table"]
        if about.get("action") not in {None, "TRUNCATE"} and not about["meta"]["primaryKey"]:
            self._without_key.add(name)
            self.tables.pop(name, None)
        if name in self._without_key:
            return
        table = self.tables.setdefault(name, CachedTable())
        if about is message:
            table.change(about)
        else:
            table.step(about)


async def beginning_of(jetstream: JetStreamContext, run: str) -> int:
    """The sequence of the first message of a run that says that a table begins."""
    async for message in read(jetstream, f"{PREFIX}._snapshot.>", begin=1):
        snapshot = json.loads(message.data)["snapshot"]
        if (snapshot["run"], snapshot["state"]) == (run, "begun"):
            return message.metadata.sequence.stream
    raise AssertionError("the messages never end")


async def read(jetstream: JetStreamContext, subject: str, *, begin: int) -> AsyncGenerator[Msg]:
    """The messages from that sequence on, in order."""
    place = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=begin)
    subscription = await jetstream.subscribe(subject, stream=STREAM, ordered_consumer=True, config=place)
    try:
        async for message in subscription.messages:
            yield message
    finally:
        await subscription.unsubscribe()


async def follow(jetstream: JetStreamContext, cache: Cache, run: str | None = None) -> AsyncGenerator[int]:
    """Keep the cache up, for ever; gives the sequence of each message when it is in the cache."""
    begin = 1 if run is None else await beginning_of(jetstream, run)
    async for message in read(jetstream, ">", begin=begin):  # all tables in one consumer
        for event in events_in(message.data):
            cache.apply(event)
        yield message.metadata.sequence.stream


async def main() -> None:
    client = await nats.connect(os.environ["NATS_URL"])
    cache = Cache()
    complete: set[tuple[str, str]] = set()
    async for sequence in follow(client.jetstream(), cache, *sys.argv[1:2]):
        for name, table in cache.tables.items():
            if table.is_complete and name not in complete:
                complete.add(name)
                print(f"{'.'.join(name)} is complete at {sequence}: {len(table.rows)} rows", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
