"""nats-server with nothing beside it: messages that are ready, of so many rows each, into a stream.

`bench_snapshot --part bounds` runs it: what storing the rows of a snapshot takes, whoever makes the messages.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from typing import Any, Final

import nats
from structlog.testing import capture_logs

from benchmarks.metering import Meter
from ditto.config import Config, Nats
from ditto.formats.payloads import Payloads
from ditto.sinks.base import Batch, PipelineId
from ditto.sinks.jetstream.sink import JetStreamSink
from ditto.testing.servers import NatsServer

ROWS_A_MESSAGE: Final = (1, 100, 500)
_AHEAD_BYTES: Final = 4 << 20
_ROUTE: Final = b"ditto.rows"
_numbers = itertools.count(1)


async def store(server: NatsServer, *, rows: int, row_bytes: int, rows_a_message: int) -> dict[str, Any]:
    """Store rows of so many bytes; the figures are µs a row. CPU: of nats-server, and of the sending process."""
    stream = f"alone_{next(_numbers)}"
    sink = JetStreamSink(Config(nats=Nats(url=server.url, stream=stream)), clock=time.monotonic)
    await sink.connect()
    try:
        pipeline = PipelineId("1", "alone", "ditto")
        with capture_logs():  # the stream is created
            await sink.claim(pipeline, {_ROUTE.decode()})
        await sink.open(pipeline)
        meter, sender_s, began_at = Meter(server.pid), time.process_time(), time.perf_counter()
        await _send(sink, rows=rows, row_bytes=row_bytes, rows_a_message=rows_a_message)
        duration_s = time.perf_counter() - began_at
        cpu_s = meter.read(), time.process_time() - sender_s
    finally:
        await sink.close()
    client = await nats.connect(server.url)
    await client.jetstream().delete_stream(stream)
    await client.close()
    took, server_cpu, sender_cpu = (round(seconds / rows * 1e6, 3) for seconds in (duration_s, *cpu_s))
    return {"us": took, "nats_cpu_us": server_cpu, "sender_cpu_us": sender_cpu}


async def _send(sink: JetStreamSink, *, rows: int, row_bytes: int, rows_a_message: int) -> None:
    message = b"x" * (row_bytes * rows_a_message)
    count = max(1, 500 // rows_a_message)
    payloads = Payloads(message * count, [len(message) * (index + 1) for index in range(count)], 0)
    ahead = max(count, _AHEAD_BYTES // len(message)) if rows_a_message > 1 else 8_000
    stored = _Stored(sink)
    waiting = asyncio.ensure_future(stored.follow())
    try:
        for sent in range(0, rows // rows_a_message, count):
            await stored.wait_for(sent - ahead, sent=sent)
            batch = Batch(
                first=sent + 1,
                routes=[_ROUTE] * count,
                commit_lsns=[sent + 8] * count,
                ordinals=list(range(1, count + 1)),
                payloads=payloads,
                traceparents=None,
                more_follows=True,
                is_urgent=False,
            )
            await sink.send(batch)
        await stored.wait_for(sent + count, sent=sent + count)
    finally:
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting


class _Stored:
    """How much is stored."""

    def __init__(self, sink: JetStreamSink) -> None:
        self._sink = sink
        self._number = 0
        self._moved = asyncio.Event()

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            self._number = await self._sink.acknowledged()
            self._moved.set()

    async def wait_for(self, number: int, *, sent: int) -> None:
        """Wait until this delivery is."""
        while self._number < number:
            self._moved.clear()
            if sent - self._number < self._sink.capabilities.ack_interval:
                await self._sink.flush()
            if self._number < number:
                await self._moved.wait()
