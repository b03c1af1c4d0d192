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
from ditto.decoding.messages import Block, Encoded
from ditto.service.run import run
from ditto.sinks.jetstream.sink import JetStreamSink


def main() -> None:
    """Runs until it is told to stop."""
    parser = argparse.ArgumentParser()
    for option in ("--dsn", "--slot", "--nats-url", "--stream", "--output"):
        parser.add_argument(option, required=True)
    arguments = parser.parse_args()
    acknowledged: list[tuple[int, float]] = []

    class Noting(JetStreamSink):
        def __init__(
            self,
            config: PipelineConfig,
            *,
            checkpoint_subject: str,
            wildcard: str | None,
            on_stored: Callable[[int], None],
            on_foreign_answer: Callable[[], None],
            clock: Callable[[], float],
        ) -> None:
            def on_acknowledged(sequence: int) -> None:
                now = time.time()
                while ends and ends[0][0] <= sequence:
                    acknowledged.append((ends.popleft()[1], now))
                on_stored(sequence)

            super().__init__(
                config,
                checkpoint_subject=checkpoint_subject,
                wildcard=wildcard,
                on_stored=on_acknowledged,
                on_foreign_answer=on_foreign_answer,
                clock=clock,
            )
            ends: deque[tuple[int, int]] = deque()  # where blocks end: stream sequence, events so far
            self._ends = ends
            self._count = 0

        async def publish(self, block: Block, encoded: Encoded) -> None:
            await super().publish(block, encoded)
            # No acknowledgement can have come meanwhile: sending does not wait for the network.
            self._count += len(encoded.ends)
            self._ends.append((self.sent_sequence, self._count))

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
