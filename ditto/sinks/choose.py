"""The sink that a configuration names. Only the library of that one is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.sinks.base import MakeSink


def choose_sink(config: PipelineConfig) -> MakeSink:
    """The sink whose section `config` has; JetStream where it has none."""
    del config  # there is one kind so far
    from ditto.sinks.jetstream.sink import JetStreamSink  # noqa: PLC0415 -- only the chosen sink's library is imported

    return JetStreamSink
