"""Whether the slot sends the history that the sink was filled from: `History`, asked block by block."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final, Protocol

import structlog

from ditto.decoding.messages import Block
from ditto.errors import ConnectionLost, SourceError, SourceRewound
from ditto.lsn import Transaction, format_lsn
from ditto.pipeline.beginning import Ready
from ditto.pipeline.confirmer import Confirmer
from ditto.source.commit_record import is_committed
from ditto.source.slot import existing_slot

log = structlog.get_logger()

_PASS_TIMEOUT_S: Final = 5.0


class Settling(Protocol):
    """Storing a checkpoint, waiting until it is durable, and what follows from a gap."""

    async def checkpoint(self, lsn: int, last: Transaction | None) -> None: ...

    async def settle(self, last: Transaction | None) -> None: ...

    async def gap_accepted(self) -> None: ...


class SourceHistoryCheck:
    """For one session. Until it is certain nothing is confirmed, and there is nothing to publish."""

    def __init__(self, ready: Ready, *, confirmer: Confirmer, outbound: Settling) -> None:
        self._ends = ready.prepared.ends
        self._slot = ready.prepared.slot
        self._decoder = ready.decoder
        self._start = ready.start
        self._history = ready.history
        self._confirmer = confirmer
        self._outbound = outbound
        self.last = ready.last
        """The last transaction that the sink knows of; None after a gap."""
        self.is_certain = ready.history.is_certain
        """It is the same history, or nothing that the slot sends could tell."""

    async def judge(self, block: Block) -> bool:
        """Find out as much as the block tells; returns whether it is certain now.

        What comes before is stored already. Raises SourceRewound, unless `delivery.on_gap` accepts what is missing.
        """
        try:
            try:
                self._history.judge(self._decoder.watched, block.idle_lsn)
            except SourceRewound:
                if not self._history.is_last_absent or not await self._has_committed_last():
                    raise
                self._history.know_last()
                self._history.judge(self._decoder.watched, block.idle_lsn)
                await self._pass_last()
        except SourceRewound as error:
            if not self._ends.config.delivery.accepts_gap or self._start.doubt is not None:
                raise
            self._history.is_certain, self.last = True, None
            first, last = format_lsn(self._slot.confirmed_lsn), format_lsn(self._start.after.commit_lsn)
            log.error(
                "stream.gap_accepted", slot=self._slot.name, missing_from=first, missing_to=last, reason=str(error)
            )
            self._ends.counters.gap_at = time.time()
            await self._outbound.gap_accepted()
        self.is_certain = self._history.is_certain
        if self.is_certain:
            self._confirmer.begin(self._start.after.commit_lsn)
        elif block.is_reply_requested:
            self._confirmer.confirm()
        return self.is_certain

    async def _has_committed_last(self) -> bool:
        """Whether all of the sink's last transaction is stored, and the server's WAL has it.

        False also where that cannot be seen.
        """
        last, tail_lsn, ends = self.last, self._start.after.commit_lsn, self._ends
        if last is None or max(tail_lsn - 1, self._slot.confirmed_lsn) < last.commit_lsn:
            return False
        try:
            return await is_committed(
                ends.config.postgres.dsn,
                last,
                page_size=await ends.control.wal_page_size(),
                clock=ends.clock,
            )
        except SourceError as error:
            if error.is_retryable:
                raise
            log.warning("source.wal_not_read", slot=self._slot.name, reason=error.message)
            return False

    async def _pass_last(self) -> None:
        """Let the next session begin after the last transaction, which PostgreSQL does not send again; ends this one.

        Before 14.18, 15.13, 16.9 and 17.5 what pgoutput has read of the publication for it would stay, and later rows
        of the same tables would not be sent either.
        """
        slot, last, tail_lsn = self._slot.name, self.last, self._start.after.commit_lsn
        after_lsn = max(tail_lsn, self._history.watch_lsn + 1)
        self._confirmer.begin(tail_lsn)
        if after_lsn > tail_lsn:
            await self._outbound.checkpoint(after_lsn, last)
        await self._outbound.settle(last)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PASS_TIMEOUT_S):
                while (await existing_slot(self._ends.control, slot)).confirmed_lsn < after_lsn:
                    self._confirmer.confirm_without_delay()
                    await asyncio.sleep(_PASS_TIMEOUT_S / 100)
        raise ConnectionLost(
            f"slot {slot} does not send the {self._ends.sink.capabilities.kind}'s last transaction again, and the "
            f"server's WAL has it at {format_lsn(self._history.watch_lsn)}: it was open while the publication was "
            "altered",
            hint="nothing is lost: the next session begins after it",
            slot=slot,
        )
