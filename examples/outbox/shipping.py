"""Ships each paid order once: the messages of an outbox, read from NATS.

Usage: NATS_URL=… SHIPPING=postgres://… python shipping.py
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import nats
import psycopg
from nats.errors import TimeoutError as NothingYet
from nats.js.api import AckPolicy, ConsumerConfig

STREAM = os.environ.get("STREAM", "DITTO")
CONSUMER = ConsumerConfig(
    durable_name="shipping",
    filter_subject=os.environ.get("SUBJECT", "shop.orders.>"),
    ack_policy=AckPolicy.EXPLICIT,
    ack_wait=float(os.environ.get("ACK_WAIT_S", "30")),  # longer than the slowest message takes
    max_ack_pending=1,  # in order: without it, messages overtake one that is delivered again
    max_deliver=-1,  # never give a message up
)


def handle(database: psycopg.Connection[Any], identifier: str, body: bytes) -> None:
    """Act, unless this message has been acted upon: its id and what it causes are committed together."""
    with database.transaction():
        inserted = database.execute("INSERT INTO received VALUES (%s) ON CONFLICT DO NOTHING", [identifier])
        if inserted.rowcount:
            order = json.loads(body)
            database.execute("INSERT INTO shipments (order_id) VALUES (%s)", [order["id"]])


async def main() -> None:
    client = await nats.connect(os.environ["NATS_URL"])
    jetstream = client.jetstream()
    await jetstream.add_consumer(STREAM, CONSUMER)
    subscription = await jetstream.pull_subscribe_bind(consumer="shipping", stream=STREAM)
    with psycopg.connect(os.environ["SHIPPING"], autocommit=True) as database:
        print("following", flush=True)
        while True:
            try:
                (message,) = await subscription.fetch(1, timeout=5)
            except NothingYet:
                continue
            handle(database, (message.headers or {})["Ditto-Id"], message.data)
            await message.ack()  # after the commit: a process that ends in between gets the message again


asyncio.run(main())
