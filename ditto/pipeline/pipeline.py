"""One pipeline of a process: what it has for as long as the process runs, over all of its sessions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from ditto.config import PipelineConfig
from ditto.monitoring.configuration_status import ConfigurationStatus
from ditto.monitoring.counters import Counters
from ditto.monitoring.state import States

log = structlog.get_logger()


@dataclass(kw_only=True)
class Pipeline:
    """The process makes one for each pipeline, runs the pipeline with it, and gives it to the exporters."""

    config: PipelineConfig
    """That of the session that runs, and of the next one unless another is asked for."""
    counters: Counters = field(default_factory=Counters)
    states: States = field(default_factory=States)
    configuration: ConfigurationStatus = field(default_factory=ConfigurationStatus)
    change_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while another configuration is asked for: the session ends between two transactions."""
    suspects_holder: bool = False
    """Whoever held the slot before is known to be dead by other signs: its lease need not be silent for as long."""
    hint: str | None = None
    """What to do about the fault that ended the last session."""
    _next: PipelineConfig | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def label(self) -> str:
        """Its name in metrics, status and logs."""
        return self.config.label

    @property
    def may_change_now(self) -> bool:
        """Whether no transaction can be stored in part by this process: then one would follow two configurations."""
        return self.counters.events == 0 or self.states.state == "standby"

    def ask_for(self, config: PipelineConfig) -> asyncio.Event:
        """The next session is to have this configuration; the event is set once it has."""
        self._next = config
        self._changed = changed = asyncio.Event() if self._changed.is_set() else self._changed
        self.configuration.is_pending = True
        self.change_wanted.set()
        return changed

    def change(self) -> None:
        """No session runs, and no transaction is stored in part: take the configuration that was asked for."""
        if self._next is None:
            return
        self.config, self._next = self._next, None
        self.change_wanted.clear()
        self._changed.set()
        self.configuration.take()
        log.info("reload.applied", revision=self.configuration.revision)
