"""Routes that are known only when their first message comes: a whole subject of the application's choice."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ditto.config import Events
from ditto.errors import StreamUnusable
from ditto.routing.message_rule import has_open_subjects
from ditto.routing.router import Router
from ditto.sinks.base import Sink

_MOST: Final = 1000
"""Each is one more subject of the stream; nats-server compares each with each whenever one is added."""


class OpenRoutes:
    """Lets the sink take each of them before its first message is sent."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._known: set[bytes] = set()

    async def ensure(self, routes: Collection[bytes]) -> None:
        """Raises StreamUnusable where the sink cannot take one, or where they are too many."""
        if new := set(routes) - self._known:
            if len(self._known) + len(new) > _MOST:
                raise StreamUnusable(
                    f"messages and rows of the outbox have given more than {_MOST} subjects, and nothing covers them",
                    hint="let the subject in events.messages or events.outbox begin with a part that is always the "
                    'same, such as "{prefix}.{data.topic}": then one wildcard covers all of them',
                    **self._sink.capabilities.context,
                )
            await self._sink.ensure_routes({route.decode() for route in new})
            self._known |= new


def open_routes(events: Events, sink: Sink, *, database: str) -> OpenRoutes | None:
    """None where the sink takes everything that may come."""
    is_open = has_open_subjects(events, database=database)
    if events.outbox is not None:
        is_open = is_open or Router(events, database=database).routes(*events.outbox.name).insert == b""
    return OpenRoutes(sink) if is_open else None
