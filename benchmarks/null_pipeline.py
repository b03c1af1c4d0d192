"""The pipeline with the null sink, as a process: prints a JSON line when all events have gone through."""

from __future__ import annotations

import argparse
import json
import os
import time

import uvloop

from ditto import log
from ditto.config import load
from ditto.service.run import run
from ditto.sinks.base import Batch
from ditto.sinks.null import NullSink


def main() -> None:
    """Runs until it is told to stop, as `ditto run` does; a second line then tells the final count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--slot", required=True)
    parser.add_argument("--publication", required=True)
    parser.add_argument("--events", type=int, required=True)
    arguments = parser.parse_args()
    count = 0

    class Counting(NullSink):
        async def send(self, batch: Batch) -> None:
            nonlocal count
            await super().send(batch)
            was_complete = count >= arguments.events
            count += batch.size
            if count >= arguments.events and not was_complete:
                tell()

    def tell() -> None:
        print(json.dumps({"at": time.time(), "events": count}), flush=True)

    log.configure("warning", "json")
    flags = {f"postgres.{key}": getattr(arguments, key) for key in ("dsn", "slot", "publication")}
    config = load(None, flags, os.environ)
    uvloop.run(run(config, read=lambda: config, make_sink=Counting))
    tell()


if __name__ == "__main__":
    main()
