"""The end of a session for another configuration: where the last transaction has been sent whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ditto.decoding.messages import Block
from ditto.pipeline.beginning import Ready
from ditto.pipeline.confirmer import Confirmer

_WAKE_S: Final = 0.1


class Leaving:
    """Of one session. `asked` is set when it is to leave; `has_barrier` says whether a snapshot uses the decoder's."""

    def __init__(
        self, ready: Ready, asked: asyncio.Event, *, confirmer: Confirmer, has_barrier: Callable[[], bool]
    ) -> None:
        self._asked = asked
        self._decoder = ready.decoder
        self._tail_lsn = ready.start.after.commit_lsn
        self._confirmer = confirmer
        self._has_barrier = has_barrier
        self._is_stopping = False

    @property
    def is_asked(self) -> bool:
        """Whether it is to leave."""
        return self._asked.is_set()

    def may(self, block: Block, *, is_certain: bool) -> bool:
        """Whether it may leave after this block, which has been sent: that of the tail is the first whole transaction.

        Where no block ends between two transactions, because there is no pause between them, the next one does.
        """
        if not is_certain:  # what comes may not be from the source that filled the sink
            return False
        if block.is_at_barrier or block.idle_lsn > self._tail_lsn:
            return True
        if not self._is_stopping and not self._has_barrier():
            self._is_stopping = True
            last = self._decoder.last_transaction()
            self._decoder.stop_before(max(self._tail_lsn, 0 if last is None else last.commit_lsn) + 1)
        return False

    async def wake(self) -> None:
        """Until cancelled: when it is asked, let a quiet server answer at once, with which a block comes."""
        await self._asked.wait()
        while True:
            self._confirmer.confirm(wants_reply=True)
            await asyncio.sleep(_WAKE_S)
