"""Deletes a pipeline, and its slot where that is asked for; says what stays."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final

from ditto.api.fleet.checking import others
from ditto.api.fleet.documents import Deleted
from ditto.api.fleet.remains import look, sentences, shared_with, slot_stays
from ditto.config import Config
from ditto.errors import ConfigError, DittoError, NotPossibleNow, SlotInUse, SourceError
from ditto.fleet.document import resolve
from ditto.fleet.interface import FleetNode
from ditto.fleet.records import Stored
from ditto.fleet.shared_slots import named
from ditto.source.slot import drop_slot, find_slot
from ditto.source.sql import Control, open_control

_TIMEOUT_S: Final = 30.0
"""For the end of the pipeline, and PostgreSQL's answers."""
_POLL_S: Final = 0.2


async def remove(node: FleetNode, found: Stored, *, drops_slot: bool, by: str) -> Deleted:
    """Raises RevisionConflict, and with `drops_slot` what keeps the slot from being dropped."""
    if not found.is_readable:
        return await _remove_unreadable(node, found, drops_slot=drops_slot)
    try:
        config: Config | None = await asyncio.to_thread(resolve, found.name, found.record.document, os.environ)
    except ConfigError:
        if drops_slot:
            raise
        config = None
    revision, is_dropped = found.revision, False
    shared = await asyncio.to_thread(shared_with, found.record.document, await others(node, found.name), os.environ)
    if drops_slot and shared.slot:
        raise NotPossibleNow(
            f"the slot of pipeline {found.name} is also that of {named(shared.slot)}, and is not dropped",
            hint="delete it without --drop-slot: the slot stays for the other one",
        )
    if drops_slot and config is not None:
        revision, is_dropped = await _drop(node, found, config, by=by)
    await node.store.delete(found.name, after=revision)
    if config is None:
        slot = _slot(found)
        kept = [slot_stays(slot, shared.slot, is_there=None), "the publication and what is stored stay"]
        return Deleted(name=found.name, slot=slot, slot_dropped=False, kept=kept)
    kept = sentences(config, await look(config), shared, is_slot_dropped=drops_slot)
    return Deleted(name=found.name, slot=config.postgres.slot, slot_dropped=is_dropped, kept=kept)


async def _remove_unreadable(node: FleetNode, found: Stored, *, drops_slot: bool) -> Deleted:
    if drops_slot:
        raise NotPossibleNow(
            f"revision {found.revision} of pipeline {found.name} cannot be read: nobody knows its slot",
            hint="delete the pipeline without --drop-slot, then the slot: ditto slot drop --slot SLOT --dsn DSN",
        )
    await node.store.delete(found.name, after=found.revision)
    kept = ["the replication slot, the publication and what is stored stay: the entry did not say which they are"]
    return Deleted(name=found.name, slot="", slot_dropped=False, kept=kept)


async def _drop(node: FleetNode, found: Stored, config: Config, *, by: str) -> tuple[int, bool]:
    """Pause the pipeline, wait until nobody reads the slot, and drop it; the revision that is the newest now, and
    whether there was a slot.
    """
    slot = config.postgres.slot
    is_paused, revision = found.record.paused, found.revision
    deadline = time.monotonic() + _TIMEOUT_S
    try:
        async with asyncio.timeout(_TIMEOUT_S), open_control(config.postgres.dsn) as control:
            held = await find_slot(control, slot)
            is_ours = any(
                each.name == found.name and each.running_revision is not None for each in node.view.pipelines()
            )
            if held is not None and held.active_pid is not None and not is_ours:
                raise _in_use(found.name, slot, held.active_pid, is_paused=found.record.paused)
            if not is_paused:
                revision = (await node.store.change(found, "pause", by=by, paused=True)).revision
                is_paused = True
            return revision, await _drop_when_free(control, found.name, slot, deadline)
    except TimeoutError:
        raise NotPossibleNow(
            f"the slot {slot} could not be dropped within {_TIMEOUT_S:g} s; {_stays(found.name, is_paused=is_paused)}",
            hint="delete it again" + (f"; ditto pipelines resume {found.name} lets it go on" if is_paused else ""),
        ) from None
    except SourceError as error:
        if isinstance(error, SlotInUse):
            raise
        raise type(error)(
            f"{error.message}; {_stays(found.name, is_paused=is_paused)}", hint=error.hint, **error.context
        ) from error


def _stays(name: str, *, is_paused: bool) -> str:
    return f"pipeline {name} is not deleted, and {'is paused' if is_paused else 'goes on as before'}"


async def _drop_when_free(control: Control, name: str, slot: str, deadline: float) -> bool:
    """Whether there was one."""
    while True:
        held = await find_slot(control, slot)
        if held is None:
            return False
        if held.active_pid is None:
            try:
                await drop_slot(control, slot)
            except SlotInUse:
                pass
            else:
                return True
        if time.monotonic() > deadline - 1:
            raise _in_use(name, slot, held.active_pid or 0, is_paused=True)
        await asyncio.sleep(_POLL_S)


def _in_use(name: str, slot: str, pid: int, *, is_paused: bool) -> DittoError:
    so_far = "; the pipeline is paused" if is_paused else ""
    return SlotInUse(
        f"the slot {slot} of pipeline {name} is in use by another reader (PID {pid}), and cannot be dropped{so_far}",
        hint="stop that reader, then delete the pipeline again; without --drop-slot it is deleted, and the slot stays",
        slot=slot,
    )


def _slot(found: Stored) -> str:
    given = found.record.document.get("postgres", {})
    return str(given.get("slot", "ditto")) if isinstance(given, dict) else "ditto"
