"""The sink that a configuration names. Only the library of that one is imported."""

# ruff: noqa: PLC0415 -- only the chosen sink's library is imported

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.sinks.base import MakeSink


def choose_sink(config: PipelineConfig) -> MakeSink:
    """The sink whose section `config` has; JetStream where it has none."""
    if config.file is None:
        from ditto.sinks.jetstream.sink import JetStreamSink

        return JetStreamSink
    if config.file.path == "-":
        from ditto.sinks.file.standard_output import StandardOutputSink

        return StandardOutputSink
    from ditto.sinks.file.sink import FileSink

    return FileSink
