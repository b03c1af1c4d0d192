"""The newest control event, kept beside the stream: a purge, or a limit, may take the messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from ditto.errors import SinkError
from ditto.formats.snapshot_events import ControlEvent, OpenRun
from ditto.pipeline.snapshots.runs import not_begun
from ditto.sinks.base import CheckpointStore

log = structlog.get_logger()

_MAX_BYTES: Final = 64 << 10
"""nats-server takes 128 KiB of metadata in all."""


class SavedState:
    """Of one session. `controls` are its control events with their delivery numbers, which are taken from there once
    they are durable; `acknowledged` gives the number up to which everything is.
    """

    def __init__(
        self,
        checkpoints: CheckpointStore,
        controls: deque[tuple[int, ControlEvent]],
        *,
        acknowledged: Callable[[], int],
    ) -> None:
        self._checkpoints = checkpoints
        self._controls = controls
        self._acknowledged = acknowledged
        self._newest: ControlEvent | None = None
        """The newest one of this session that is durable."""
        self._saved: object = None
        self._kept: tuple[OpenRun, ...] | None = None
        self._has_failed = False

    async def keep(self) -> None:
        """Keep the newest control event that is durable; while rows are stored there is always one that is not yet.

        How far a table is changes all the time: that is kept only where the stream itself may lose it. Elsewhere the
        table begins anew, should somebody purge the stream.
        """
        controls, acknowledged = self._controls, self._acknowledged()
        while controls and controls[0][0] <= acknowledged:
            self._newest = controls.popleft()[1]
        newest = self._newest
        if newest is None or newest is self._saved or self._has_failed:
            return
        kept = newest if self._checkpoints.may_lose_tail else _anew(newest)
        if kept.snapshot.open == self._kept:
            return
        payload = msgspec.json.encode(kept) if kept.snapshot.open else b""
        if len(payload) > _MAX_BYTES:
            return
        try:
            await self._checkpoints.save_snapshots(payload)
        except SinkError as error:
            if error.is_retryable:
                raise
            log.warning("snapshot.state_not_kept", reason=error.message)
            self._has_failed = True
        self._saved, self._kept = newest, kept.snapshot.open


def _anew(event: ControlEvent) -> ControlEvent:
    """The same where no table has begun yet."""
    return replace(event, snapshot=replace(event.snapshot, open=tuple(map(not_begun, event.snapshot.open))))
