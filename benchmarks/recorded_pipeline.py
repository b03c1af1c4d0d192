"""The pipeline as `ditto run` has it, as a process that also notes when what was acknowledged.

Writes a JSON list of `[events acknowledged so far, seconds since 1970]` when it is told to stop.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import uvloop

from ditto import log
from ditto.config import PipelineConfig, load
from ditto.service.run import run
from ditto.sinks.base import Batch
from ditto.sinks.jetstream.sink import JetStreamSink


def main() -> None:
    """Runs until it is told to stop."""
    parser = argparse.ArgumentParser()
    for option in ("--dsn", "--slot", "--nats-url", "--stream", "--output"):
        parser.add_argument(option, required=True)
    arguments = parser.parse_args()
    acknowledged: list[tuple[int, float]] = []

    class Noting(JetStreamSink):
        def __init__(self, config: PipelineConfig, *, clock: Callable[[], float]) -> None:
            super().__init__(config, clock=clock)
            self._ends: deque[tuple[int, int]] = deque()  # where batches end: delivery number, events so far
            self._count = 0

        async def send(self, batch: Batch) -> None:
            self._count += batch.size
            self._ends.append((batch.first + batch.size - 1, self._count))
            await super().send(batch)

        async def acknowledged(self) -> int:
            number = await super().acknowledged()
            now = time.time()
            while self._ends and self._ends[0][0] <= number:
                acknowledged.append((self._ends.popleft()[1], now))
            return number

    log.configure("warning", "json")
    flags = {
        "postgres.dsn": arguments.dsn,
        "postgres.slot": arguments.slot,
        "postgres.publication": arguments.slot,
        "nats.url": arguments.nats_url,
        "nats.stream": arguments.stream,
    }
    uvloop.run(run(load(None, flags, os.environ), make_sink=Noting))
    Path(arguments.output).write_text(json.dumps(acknowledged))


if __name__ == "__main__":
    main()
