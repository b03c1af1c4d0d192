"""Another configuration for a running process: read, compared, rehearsed, and taken between two transactions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from ditto import log as logging
from ditto.config import Config
from ditto.config.changes import changed_keys, needs_restart
from ditto.errors import ConfigError, DittoError, NotNow
from ditto.log import mask_secrets
from ditto.monitoring.configuration_status import Reloaded
from ditto.pipeline.pipeline import Pipeline
from ditto.pipeline.rehearsal import rehearse
from ditto.service import systemd
from ditto.sinks.base import MakeSink
from ditto.sinks.choose import choose_sink
from ditto.tasks import end

log = structlog.get_logger()

_REHEARSAL_S: Final = 60.0
_APPLIED_S: Final = 5.0
"""A session takes some 0.1 s to end and to begin; more where a transaction is long, or the sink does not answer."""
_SHOWN: Final = 8


class Reloads:
    """Of one process with one pipeline; one at a time. `read` reads the configuration as at the start.

    All or nothing: a configuration of which one key cannot be taken changes nothing.
    """

    def __init__(
        self, config: Config, pipeline: Pipeline, *, read: Callable[[], Config], make_sink: MakeSink | None = None
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        self._read = read
        self._make_sink = make_sink
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Reloaded]] = set()

    def begin(self) -> asyncio.Task[Reloaded]:
        """Begin one, after those that are at work: these may have read the file before somebody wrote it. The task ends
        with its result, or raises why it is refused.
        """
        running = asyncio.create_task(self._reload())
        self._running.add(running)
        running.add_done_callback(self._forget)
        return running

    def _forget(self, task: asyncio.Task[Reloaded]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # the log has it: asyncio would report it as never retrieved

    async def result(self, *, timeout_s: float) -> Reloaded:
        """Reload, and what has become of it within that time. Raises DittoError where it is refused."""
        running = self.begin()
        await asyncio.wait([running], timeout=timeout_s)
        if running.done():
            return running.result()
        return Reloaded(state="checking", revision=self._pipeline.configuration.revision, changed=[])

    async def close(self) -> None:
        """Give up what is at work."""
        await end(*self._running)

    async def _reload(self) -> Reloaded:
        async with self._turn:
            return await self._reload_now()

    async def _reload_now(self) -> Reloaded:
        systemd.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            return await self._take()
        except DittoError as error:
            reason = mask_secrets(error.message)
            self._pipeline.configuration.refuse(reason)
            log.error("reload.refused", kind=type(error).__name__, reason=reason, hint=error.hint, **error.context)
            raise
        finally:
            systemd.send("READY=1", f"STATUS={self._pipeline.states.state}")

    async def _take(self) -> Reloaded:
        status = self._pipeline.configuration
        config = self._read()
        changed = changed_keys(self._config, config)
        if fixed := [key for key in changed if needs_restart(key)]:
            raise ConfigError(
                f"{_listed(fixed)} cannot change while Ditto runs: nothing of the new configuration is used",
                hint="restart Ditto for that, or take it back and reload",
                key=fixed[0],
            )
        if not changed:
            log.info("reload.unchanged", revision=status.revision)
            return Reloaded(state="unchanged", revision=status.revision, changed=[])
        applied: asyncio.Event | None = None
        if config.events != self._config.events:
            await self._rehearse(config)
            applied = self._pipeline.ask_for(config)
        else:
            status.take()
        logging.configure(config.log.level, config.log.format)
        self._config = config
        log.info("reload.accepted", changed=changed)
        if applied is not None:
            await asyncio.wait([waiting := asyncio.ensure_future(applied.wait())], timeout=_APPLIED_S)
            await end(waiting)
            if not applied.is_set():
                log.info("reload.pending", reason="a transaction is long, or what was sent is not stored yet")
                return Reloaded(state="pending", revision=status.revision, changed=changed)
        return Reloaded(state="applied", revision=status.revision, changed=changed)

    async def _rehearse(self, config: Config) -> None:
        try:
            async with asyncio.timeout(_REHEARSAL_S):
                await rehearse(config, self._make_sink or choose_sink(config))
        except TimeoutError as error:
            raise NotNow(f"the servers have not answered within {_REHEARSAL_S:g} s") from error


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
