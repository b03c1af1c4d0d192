"""The `ditto` command with a stopwatch at every stage: `python -m benchmarks.staged_pipeline FILE run …`.

At the end FILE holds a JSON object: CPU seconds by stage. The stopwatches are read once a block, not once an event.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ditto.pipeline.beginning
import ditto.sinks.jetstream.publisher
from ditto.cli import main as command
from ditto.formats.ditto import DittoFormat
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.publisher import Publisher

spent_ns: dict[str, int] = defaultdict(int)


def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, its CPU time added to the stage."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        started = time.thread_time_ns()
        try:
            return function(*arguments, **options)
        finally:
            spent_ns[stage] += time.thread_time_ns() - started

    return wrapper


def main() -> None:
    """Put the stopwatches in, and run the command."""
    output, *arguments = sys.argv[1:]
    beginning = vars(ditto.pipeline.beginning)
    publisher = vars(ditto.sinks.jetstream.publisher)
    decoder = beginning["Decoder"]
    staged_decoder = type("Decoder", (decoder,), {"read": timed("read, decode", decoder.read)})
    # The product has no hooks in its hot path, hence the names are replaced where it looks them up.
    for names, name, replacement in (
        (beginning, "Decoder", staged_decoder),
        (publisher, "frame_block", timed("frame", publisher["frame_block"])),
    ):
        names[name] = replacement
    for owner, name, stage in (
        (DittoFormat, "encode", "encode"),
        (Connection, "write", "write"),
        (Publisher, "_on_answer", "acknowledge"),
    ):
        setattr(owner, name, timed(stage, getattr(owner, name)))
    try:
        command(arguments, standalone_mode=False)
    finally:
        Path(output).write_text(json.dumps({stage: spent / 1e9 for stage, spent in spent_ns.items()}))


if __name__ == "__main__":
    main()
