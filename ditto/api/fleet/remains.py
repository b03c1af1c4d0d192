"""What a pipeline that was deleted leaves behind: its slot, its publication, and what it has stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from ditto.config import Config
from ditto.errors import DittoError
from ditto.fleet.document import Document
from ditto.fleet.shared_places import same_publication, same_stream
from ditto.fleet.shared_slots import named, readers
from ditto.hints import identifier
from ditto.sinks.choose import open_reader
from ditto.source.slot import find_slot
from ditto.source.sql import open_control

_TIMEOUT_S: Final = 5.0
"""Of each server: one that is away must not keep the answer for long."""


class There(Struct, kw_only=True):
    """What there is; None where that is not known."""

    slot: bool | None = None
    publication: bool | None = None
    stored: bool | None = None


class Shared(Struct, kw_only=True):
    """The names of other pipelines that use the same slot, publication or stream."""

    slot: list[str]
    publication: list[str]
    stream: list[str]


def shared_with(document: Document, others: list[tuple[str, Document]], environ: Mapping[str, str]) -> Shared:
    """Look through the others."""
    return Shared(
        slot=readers(document, others, environ),
        publication=same_publication(document, others, environ),
        stream=same_stream(document, others, environ),
    )


async def look(config: Config) -> There:
    """Ask both servers, each for a short time."""
    there = There()
    await asyncio.gather(_look_at_source(config, there), _look_at_sink(config, there))
    return there


async def _look_at_source(config: Config, there: There) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_S), open_control(config.postgres.dsn) as control:
            there.slot = await find_slot(control, config.postgres.slot) is not None
            rows = await control.fetch(
                "SELECT 1 FROM pg_catalog.pg_publication AS p WHERE p.pubname = %s",
                [config.postgres.publication],
                doing="look up the publication",
            )
            there.publication = bool(rows)
    except (DittoError, TimeoutError):
        return


async def _look_at_sink(config: Config, there: There) -> None:
    if config.file is not None:
        return  # on the node that wrote it, which may be another one
    try:
        async with asyncio.timeout(_TIMEOUT_S), open_reader(config) as reader:
            there.stored = (await reader.look()).exists
    except (DittoError, TimeoutError):
        return


def sentences(config: Config, there: There, shared: Shared, *, is_slot_dropped: bool) -> list[str]:
    """One for each thing that stays, and how to remove it where no other pipeline uses it."""
    slot = config.postgres.slot
    found = []
    if not is_slot_dropped and there.slot is not False:
        found.append(slot_stays(slot, shared.slot, is_there=there.slot))
    if there.publication is not False:
        found.append(_publication(config.postgres.publication, shared.publication, there.publication))
    if there.stored is not False:
        found.append(_stored(config, shared.stream, there.stored))
    return found


def slot_stays(slot: str, users: list[str], *, is_there: bool | None) -> str:
    """The sentence about it."""
    if users:
        return f"the replication slot {slot} stays{_if(is_there)}: {_also(users)}"
    return (
        f"the replication slot {slot} stays{_if(is_there)}, and PostgreSQL keeps its WAL until it is dropped: "
        f"ditto slot drop --slot {slot} --dsn DSN"
    )


def _publication(publication: str, users: list[str], is_there: bool | None) -> str:
    stays = f"the publication {publication} stays{_if(is_there)}"
    return f"{stays}: {_also(users)}" if users else f"{stays}: DROP PUBLICATION {identifier(publication)} removes it"


def _also(names: list[str]) -> str:
    return f"it is also that of {named(names)}"


def _if(is_there: bool | None) -> str:
    return "" if is_there else ", if there is one"


def _stored(config: Config, users: list[str], is_there: bool | None) -> str:
    if config.sink == "nats":
        stream = config.nats.stream
        if users:
            return f"the stream {stream} stays with its events{_if(is_there)}: {_also(users)}"
        return f"the stream {stream} stays with its events{_if(is_there)}: nats stream rm {stream} removes it"
    if config.file is not None:
        return f"the file {config.file.path} stays on the node that wrote it{_if(is_there)}"
    return f"what is stored by {config.sink} stays"
