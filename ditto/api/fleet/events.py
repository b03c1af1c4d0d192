"""The route of live events: what a pipeline stores, as server-sent events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from litestar import Request, get
from litestar.params import QueryParameter
from litestar.response import Stream

from ditto.api.fleet.access import ROLE, identity_of
from ditto.api.fleet.pipelines import known
from ditto.api.fleet.problems import plain_problem, problem_of
from ditto.api.fleet.responses import Name, fails
from ditto.config import Config, secrets
from ditto.errors import DittoError, NotPossibleNow, SinkLost, TooManyStreams
from ditto.fleet.document import resolve
from ditto.fleet.interface import FleetNode
from ditto.log import keep_secret
from ditto.sinks.base import Reader, Start
from ditto.sinks.choose import choose_reader, open_reader
from ditto.tail.choose import Choice, choose
from ditto.tail.json_events import json_events

MAX_STREAMS: Final = 20
"""A node sends to so many clients at the same time; each has a connection of its own to the sink."""
_CONNECT_TIMEOUT_S: Final = 10.0
_ALIVE_S: Final = 15.0
"""After so long without an event a comment is sent: proxies close what is silent."""
_ALIVE: Final = b": alive\n\n"

_QUEUED: Final = 4
"""Events that wait for a slow client, besides those that the reader has: each may have megabytes."""

Queue: TypeAlias = asyncio.Queue[bytes | None]
Action: TypeAlias = Literal["insert", "update", "delete", "truncate", "read", "message"]
Tables = Annotated[
    list[str] | None,
    QueryParameter(
        name="table", description="Only these tables: `table`, `schema.table`, or a glob of either.", required=False
    ),
]
Actions = Annotated[
    list[Action] | None,
    QueryParameter(
        name="action",
        description="Only these actions. `read`: rows and steps of snapshots; `message`: logical messages, rows of an "
        "outbox.",
        required=False,
    ),
]
Last = Annotated[
    int | None,
    QueryParameter(
        ge=1, le=1000, description="Begin so many messages before the end. By default at the end.", required=False
    ),
]


def event_handlers(node: FleetNode) -> list[Any]:
    """The handlers."""
    open_streams: set[object] = set()

    def check_room() -> None:
        if len(open_streams) >= MAX_STREAMS:
            raise TooManyStreams(
                f"node {node.name} sends live events to {MAX_STREAMS} clients already",
                hint="close one, or ask another node",
            )

    @get(
        "/v1/pipelines/{name:str}/events",
        summary="The live tail",
        opt={ROLE: "read"},
        media_type="text/event-stream",
        responses=fails(404, 409, 422, 503),
    )
    async def events(
        request: Request[Any, Any, Any], name: Name, table: Tables = None, action: Actions = None, last: Last = None
    ) -> Stream:
        """Server-sent events: `change`, `message` and `snapshot` as they are stored, `lost` with a problem document
        while the sink does not answer, `error` with one before the stream ends. The `id` is the sink's own number of
        the message. With the role `read` no values: table, action, time and names of columns.
        """
        stored = await known(node, name)
        choice = choose(table or [], action or [])
        config = await asyncio.to_thread(resolve, name, stored.record.document, os.environ, log=node.config.log)
        keep_secret(secrets(config))
        _check_place(node, name, config)
        check_room()
        place = object()
        open_streams.add(place)  # also while it looks: hundreds may come at the same time
        try:
            await _look(config)
        finally:
            open_streams.discard(place)
        has_values = identity_of(request).may("operate")

        async def send() -> AsyncIterator[bytes]:
            try:
                check_room()
            except TooManyStreams as error:
                yield _sse("error", msgspec.json.encode(problem_of(error)))
                return
            open_streams.add(place)
            lines: Queue = asyncio.Queue(_QUEUED)
            reading = asyncio.create_task(_read(choose_reader(config), choice, Start(None, last), has_values, lines))
            try:
                yield _ALIVE
                while (line := await _next(lines)) is not None:
                    yield line
            finally:
                reading.cancel()  # closes its connection by itself: here every further await would be cancelled, too
                open_streams.discard(place)

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Stream(send(), media_type="text/event-stream", headers=headers)

    return [events]


def _check_place(node: FleetNode, name: str, config: Config) -> None:
    """A file can be read only where it is."""
    if config.file is None:
        return
    where = node.view.pipeline(name).node
    if where != node.name:
        raise NotPossibleNow(
            f"pipeline {name} writes a file, on the node {where or 'that ran it last'}, and this is node {node.name}",
            hint="ask that node: ditto nodes shows its address",
        )


async def _look(config: Config) -> None:
    """Raises what keeps the events from being read."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S), open_reader(config) as reader:
            held = await reader.look()
            if not held.exists:
                raise NotPossibleNow(f"there is no {reader.name} yet", hint="the pipeline creates it when it streams")
    except TimeoutError:
        raise SinkLost(f"the sink has not answered within {_CONNECT_TIMEOUT_S:g} s") from None


async def _read(reader: Reader, choice: Choice, start: Start, has_values: bool, lines: Queue) -> None:
    """Put the stream's bytes into the queue, at the end an `error` event and None."""

    def on_lost(error: DittoError) -> None:
        with suppress(asyncio.QueueFull):
            lines.put_nowait(_sse("lost", msgspec.json.encode(problem_of(error))))

    try:
        async with aclosing(reader.follow(start, is_endless=True, on_lost=on_lost)) as found:
            async for messages in found:
                for message in messages:
                    for event in json_events(message, choice, has_values=has_values):
                        await lines.put(_sse(event.kind, event.data, number=message.number))
    except DittoError as error:
        await lines.put(_sse("error", msgspec.json.encode(problem_of(error))))
    except Exception as error:  # noqa: BLE001 -- the stream has begun: nobody else could say it
        problem = plain_problem(500, f"an unexpected {type(error).__name__} ended the stream", code=1)
        await lines.put(_sse("error", msgspec.json.encode(problem)))
    finally:
        await reader.close()
    await lines.put(None)


async def _next(lines: Queue) -> bytes | None:
    """The next line, or a comment after a while."""
    try:
        async with asyncio.timeout(_ALIVE_S):
            return await lines.get()
    except TimeoutError:
        return _ALIVE


def _sse(event: str, data: bytes, *, number: int | None = None) -> bytes:
    identity = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (identity, event.encode(), data)
