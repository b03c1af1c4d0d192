"""The same checks inside `ditto run`, once, after it has begun to stream."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from ditto.config import Config
from ditto.tasks import end

log = structlog.get_logger()

_DELAY_S: Final = 5.0
"""The first seconds belong to what has piled up: the checks take a tenth of a second of CPU."""
_TIMEOUT_S: Final = 60.0


class BackgroundCheck:
    """Runs at most once; whatever goes wrong in it is a line at DEBUG, and never anybody's error."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start it, where it has not been started yet."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End it, if it still runs."""
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
                mend=finding.mend,
            )
