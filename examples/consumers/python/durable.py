"""A durable consumer with one message under way: what is delivered again comes before what follows it.

Usage: NATS_URL=… COPY=postgres://… python durable.py
"""

from __future__ import annotations

import asyncio
import os

import nats
import psycopg
from copy_of_tables import STREAM, store
from nats.errors import TimeoutError as NothingYet
from nats.js.api import AckPolicy, ConsumerConfig

CONSUMER = ConsumerConfig(
    durable_name="copy",
    ack_policy=AckPolicy.EXPLICIT,
    ack_wait=float(os.environ.get("ACK_WAIT_S", "30")),  # longer than the slowest message takes
    max_ack_pending=1,  # without it, messages overtake one that is delivered again
    max_deliver=-1,  # never give a message up
)


async def main() -> None:
    client = await nats.connect(os.environ["NATS_URL"])
    jetstream = client.jetstream()
    created = str((await jetstream.stream_info(STREAM)).created)
    await jetstream.add_consumer(STREAM, CONSUMER)
    subscription = await jetstream.pull_subscribe_bind(consumer="copy", stream=STREAM)
    with psycopg.connect(os.environ["COPY"], autocommit=True) as copy:
        print("following", flush=True)
        while True:
            try:
                (message,) = await subscription.fetch(1, timeout=5)
            except NothingYet:
                continue
            store(copy, created, message.metadata.sequence.stream, message.data)
            await message.ack()  # after the commit: a process that ends in between gets the message again


asyncio.run(main())
