"""The stream's sequence is stored with the data: an ordered consumer begins after it, at every start.

Usage: NATS_URL=… COPY=postgres://… python ordered.py
"""

from __future__ import annotations

import asyncio
import os

import nats
import psycopg
from copy_of_tables import STREAM, store, stored_sequence
from nats.js.api import ConsumerConfig, DeliverPolicy


async def main() -> None:
    client = await nats.connect(os.environ["NATS_URL"])
    jetstream = client.jetstream()
    created = str((await jetstream.stream_info(STREAM)).created)
    with psycopg.connect(os.environ["COPY"], autocommit=True) as copy:
        with copy.transaction():
            begin = stored_sequence(copy, created) + 1
        subscription = await jetstream.subscribe(
            ">",  # all tables in one consumer: several would overtake each other
            stream=STREAM,
            ordered_consumer=True,
            config=ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=begin),
        )
        print("following", flush=True)
        async for message in subscription.messages:
            store(copy, created, message.metadata.sequence.stream, message.data)


asyncio.run(main())
