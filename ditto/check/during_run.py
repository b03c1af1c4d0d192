"""The same checks inside `ditto run`, once, after it has begun to stream."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from ditto.config import Config
from ditto.tasks import end

log = structlog.get_logger()

_DELAY_S: Final = 5.0
"""Seconds. At first Ditto catches up with the changes that have accumulated, and the checks take 0.1 s of CPU."""
_TIMEOUT_S: Final = 60.0


class BackgroundCheck:
    """Runs the checks at most once. A failure of the checks is logged at DEBUG and affects nothing else."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the checks, unless they were started before."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop the checks, if they still run."""
        if self._task is not None:
            await end(self._task)

    async def _run(self) -> None:
        try:
            await asyncio.sleep(_DELAY_S)
            from ditto.check.run import run_checks  # noqa: PLC0415 -- starting must not wait for it

            async with asyncio.timeout(_TIMEOUT_S):
                findings = await run_checks(self._config, is_running=True)
        except Exception as error:  # noqa: BLE001 -- it is advice: it must not end what works
            log.debug("check.failed", kind=type(error).__name__)
            return
        for finding in findings:
            if finding.level == "ok":
                continue
            log.warning(
                "check.warning",
                check=finding.check,
                severity=finding.level,
                what=finding.what,
                why=finding.why,
                fix=finding.fix,
            )
