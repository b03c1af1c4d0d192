"""Snapshots in streams that do not keep all messages, row by row, with the action in the subject, over kill -9."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from nats.js.api import RetentionPolicy, StreamConfig

from ditto.lsn import parse_lsn
from ditto.sinks.jetstream.stream_metadata import read_place

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from e2e.world import World

ROWS = 500
STREAMS: dict[str, dict[str, Any]] = {
    "work_queue": {"retention": RetentionPolicy.WORK_QUEUE},
    "interest": {"retention": RetentionPolicy.INTEREST},
    "max_age": {"max_age": 3.0},
    "max_bytes": {"max_bytes": 60_000},
}


class Consumer:
    """Takes every message as it comes, and acknowledges it: the stream may delete it then."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    async def begin(self, world: World, jetstream: JetStreamContext) -> None:
        async def take(message: Any) -> None:
            self.messages.append((message.subject, message.data))
            await message.ack()

        await jetstream.subscribe(f"{world.name}.>", durable="d", stream=world.stream, cb=take, manual_ack=True)

    @property
    def reads(self) -> list[int]:
        return [json.loads(data)["data"]["id"] for subject, data in self.messages if subject.endswith(".t.read")]

    @property
    def is_finished(self) -> bool:
        return any(b'"state":"finished"' in data for _, data in self.messages)


@pytest.mark.parametrize("name", list(STREAMS))
async def test_every_row_comes(world: World, name: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"INSERT INTO t SELECT generate_series(1, {ROWS})")
    settings = {"snapshot_chunk_rows": "1", "events_subject": "{prefix}.{schema}.{table}.{action}"}
    consumer = Consumer()
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(
            StreamConfig(name=world.stream, subjects=[f"{world.name}.>"], allow_rollup_hdrs=True, **STREAMS[name])
        )
        await consumer.begin(world, jetstream)
        ditto = await world.streaming(**settings)
        body = json.dumps({"start": ["public.t"], "run": "r", "max_rows_per_s": 250})
        world.sql(f"SELECT pg_logical_emit_message(true, 'ditto.snapshot', '{body}')")
        async with asyncio.timeout(60):
            while len(consumer.reads) < ROWS // 3:  # noqa: ASYNC110  what another process stores
                await asyncio.sleep(0.02)
            ditto.kill()
            await world.slot_is_free()
            ditto = await world.streaming(**settings)
            while not consumer.is_finished:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert set(consumer.reads) == set(range(1, ROWS + 1))
    # The tail is gone where it was acknowledged. The place beside the stream is noted once a second: the rows since
    # then come again.
    most = 0 if name.startswith("max") else ROWS
    assert len(consumer.reads) - ROWS <= most
    assert await ditto.stop() == 0


async def test_the_place_never_passes_a_run_that_is_not_kept(world: World) -> None:
    # A place behind the request, without the run beside it, made the next session forget the run.
    rows = 6000
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"INSERT INTO t SELECT generate_series(1, {rows})")
    settings = {"snapshot_chunk_rows": "1", "events_subject": "{prefix}.{schema}.{table}.{action}"}
    consumer = Consumer()
    async with world.jetstream() as jetstream:
        config = StreamConfig(
            name=world.stream, subjects=[f"{world.name}.>"], allow_rollup_hdrs=True, **STREAMS["work_queue"]
        )
        await jetstream.add_stream(config)
        await consumer.begin(world, jetstream)
        ditto = await world.streaming(**settings)
        body = json.dumps({"start": ["public.t"], "run": "r"})
        requested = parse_lsn(str(world.sql(f"SELECT pg_logical_emit_message(true, 'ditto.snapshot', '{body}')")[0][0]))
        async with asyncio.timeout(60):
            while True:
                found = (await jetstream.stream_info(world.stream)).config.metadata or {}
                place = read_place(found)
                if place is not None and place.lsn > requested:
                    break
                await asyncio.sleep(0.02)
            assert not consumer.is_finished, "it was over before a place was noted: use more rows"
            ditto.kill()
            await world.slot_is_free()
            before = len(set(consumer.reads))
            ditto = await world.streaming(**settings)
            while len(set(consumer.reads)) < before + 100:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert await ditto.stop() == 0
