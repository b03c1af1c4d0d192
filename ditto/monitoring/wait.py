"""Waits until the sink holds everything before an LSN, so that a program can read what it has written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from ditto.config import Config
from ditto.decoding.messages import WAIT_PREFIX
from ditto.errors import DittoError
from ditto.lsn import Position, format_lsn
from ditto.sinks.base import Held
from ditto.sinks.choose import open_reader
from ditto.source.slot import find_slot
from ditto.source.sql import Control, open_control

_FIRST_PERIOD_S: Final = 0.002
_LONGEST_PERIOD_S: Final = 0.1


class NotReached(DittoError):
    """The sink did not get there in time."""


async def wait(config: Config, lsn: int, *, timeout_s: float) -> Position:
    """Return the sink's tail once it has reached `lsn`.

    A logical message asks the running Ditto for a checkpoint: there is no need to wait for the next one that comes
    by itself. Raises NotReached, and whatever keeps this from reaching PostgreSQL or the sink.
    """
    async with open_control(config.postgres.dsn) as control, _open_place(config, control) as place:
        deadline = time.monotonic() + timeout_s
        period_s, is_asked = _FIRST_PERIOD_S, False
        while True:
            held = await place.look()
            if held.tail is not None and held.tail.commit_lsn >= lsn:
                return held.tail
            if not is_asked:
                await _ask(control, lsn)
                is_asked = True
            if time.monotonic() >= deadline:
                raise NotReached(
                    f"{place.name} has not reached {format_lsn(lsn)} within {timeout_s:g} s: {_place(held)}",
                    hint="is ditto run streaming? ditto slot status shows how far behind it is"
                    if held.exists
                    else "ditto run creates it when it starts: is it running, and with the same configuration?",
                )
            await asyncio.sleep(min(period_s, max(0.0, deadline - time.monotonic())))
            period_s = min(2 * period_s, _LONGEST_PERIOD_S)


class _Place(Protocol):
    """What is waited for: the sink, or the slot of one that cannot be asked."""

    @property
    def name(self) -> str: ...

    async def look(self) -> Held: ...


class _Slot:
    """Confirmed is what the sink has taken."""

    def __init__(self, control: Control, name: str) -> None:
        self._control = control
        self._slot = name
        self.name = f"slot {name}"

    async def look(self) -> Held:
        slot = await find_slot(self._control, self._slot)
        tail = None if slot is None or not slot.confirmed_lsn else Position(slot.confirmed_lsn, 0)
        return Held(exists=slot is not None, tail=tail)


@asynccontextmanager
async def _open_place(config: Config, control: Control) -> AsyncGenerator[_Place]:
    if config.keeps_nothing:
        yield _Slot(control, config.postgres.slot)
        return
    async with open_reader(config) as reader:
        yield reader


def _place(held: Held) -> str:
    if held.tail is not None:
        return f"it is at {format_lsn(held.tail.commit_lsn)}"
    return "it holds nothing of Ditto's" if held.exists else "it does not exist"


async def _ask(control: Control, lsn: int) -> None:
    """Write the message that asks for a checkpoint; a standby cannot, and there the next one has to do."""
    (row,) = await control.fetch(
        "SELECT pg_catalog.pg_is_in_recovery() AS is_standby", doing="see whether this server is a standby"
    )
    end_lsn = await control.wal_lsn()
    if lsn > end_lsn:
        raise NotReached(
            f"{format_lsn(lsn)} lies in the future: this server's WAL ends at {format_lsn(end_lsn)}",
            hint="is it from another server? pg_current_wal_lsn() gives the LSN to wait for",
        )
    if not row["is_standby"]:
        await control.fetch(
            "SELECT pg_catalog.pg_logical_emit_message(false, %s, '')", [WAIT_PREFIX], doing="ask for a checkpoint"
        )
