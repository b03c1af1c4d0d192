"""Taking the slot: at once where it is free, and as a standby where another reader holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from ditto.config import Postgres
from ditto.errors import SlotInUse
from ditto.monitoring.state import States
from ditto.pipeline.lease import Lease
from ditto.source.replication import Replication
from ditto.source.slot import Slot, existing_slot
from ditto.source.sql import Control
from ditto.source.standbys import join_group, leave_group
from ditto.source.walsender import describe_holder, end_walsender
from ditto.tasks import end

log = structlog.get_logger()

_POLL_S: Final = 0.5


class Takeover:
    """How one session gets the slot."""

    def __init__(
        self, config: Postgres, *, control: Control, source: Replication, lease: Lease, states: States
    ) -> None:
        self._config = config
        self._control = control
        self._source = source
        self._lease = lease
        self._states = states

    async def take(
        self, slot: Slot, *, on_waited: Callable[[], None], check_sink: Callable[[], Awaitable[object]]
    ) -> Slot:
        """START_REPLICATION, or wait as a standby until the slot is free; returns the slot as it then is.

        `on_waited` is called all the time while it waits; `check_sink` raises when the stream cannot be reached.
        """
        name = self._config.slot
        is_standby = False
        while True:
            try:
                if self._config.failover and not slot.is_failover:
                    await self._source.set_failover(name)
                await self._source.start(name, self._config.publication)
            except SlotInUse:
                if not is_standby:
                    is_standby = True
                    reason = "another reader holds the slot; waiting for it"
                    self._states.enter("standby", reason=reason)
                    log.info("slot.standby", slot=name, **await describe_holder(self._control, name), reason=reason)
                    await join_group(self._control, name)
                await self._wait(on_waited)
                await check_sink()  # one that cannot reach the stream leaves the slot to others
            else:
                break
        if is_standby:
            log.info("slot.taken_over", slot=name)
            await leave_group(self._control, name)
        return await existing_slot(self._control, name)

    async def _wait(self, on_waited: Callable[[], None]) -> None:
        """Until the slot is free; a holder that is dead or cut off is helped out of it."""
        name = self._config.slot
        watching = asyncio.ensure_future(self._lease.watch(partial(end_walsender, self._control, name)))
        try:
            while (await existing_slot(self._control, name)).active_pid is not None:
                await asyncio.sleep(_POLL_S)
                on_waited()
                if watching.done():
                    watching.result()
        finally:
            await end(watching)
