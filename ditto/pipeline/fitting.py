"""What comes between a block's payloads and the sink: other events in place of those that are too large, and groups."""

from __future__ import annotations

from ditto.decoding.messages import Block
from ditto.formats.base import Format
from ditto.formats.payloads import Payloads
from ditto.pipeline.beginning import Ready
from ditto.pipeline.groups import Groups, Packed, make_groups
from ditto.pipeline.oversize import Oversize, make_oversize


class Fitting:
    """Of one session that has at least one of the two."""

    def __init__(self, oversize: Oversize | None, groups: Groups | None) -> None:
        self._oversize = oversize
        self._groups = groups

    async def fit(
        self, block: Block, payloads: Payloads, traceparents: dict[int, bytes] | None, *, is_made: bool
    ) -> Packed:
        """What goes to the sink now: maybe nothing. `is_made`: a snapshot's own, which does not wait in a group."""
        if self._oversize is not None:
            block, payloads = await self._oversize.fit(block, payloads)
        if self._groups is not None:
            return self._groups.pack(block, payloads, traceparents, is_made=is_made)
        return Packed(block, payloads, traceparents, len(payloads.ends))


def make_fitting(ready: Ready, encoder: Format) -> Fitting | None:
    """That of a session; None where every event is a message as it is."""
    oversize, groups = make_oversize(ready, encoder), make_groups(ready)
    return Fitting(oversize, groups) if oversize is not None or groups is not None else None
