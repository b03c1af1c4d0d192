"""One pipeline of a process: what it has for as long as the process runs, over all of its sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

from ditto.config import PipelineConfig
from ditto.monitoring.counters import Counters
from ditto.monitoring.state import States


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The process makes one for each pipeline, runs the pipeline with it, and gives it to the exporters."""

    config: PipelineConfig
    counters: Counters = field(default_factory=Counters)
    states: States = field(default_factory=States)

    @property
    def label(self) -> str:
        """Its name in metrics, status and logs."""
        return self.config.label
