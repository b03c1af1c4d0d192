"""Reads single messages of the stream, as its leader has them, and finds the last one of Ditto's."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from ditto.config import Nats
from ditto.sinks.jetstream.api import Api
from ditto.sinks.jetstream.api_answers import StoredMessage, StreamState
from ditto.sinks.jetstream.last_message import Classified, Kind, classify

log = structlog.get_logger()

_AT_ONCE: Final = 64
"""Requests that are under way at the same time."""
_SOME: Final = 16
"""The same, of messages next to each other: each may be large."""
_BACK: Final = 256
"""How many messages, from the last one back, are looked at one by one."""


class Reader:
    """Reads messages. Every call may raise the errors of `Api`."""

    def __init__(self, api: Api, config: Nats) -> None:
        self._api = api
        self._config = config
        self._stream = config.stream

    async def message(self, sequence: int) -> StoredMessage | None:
        """The message of that sequence; None where there is none."""
        return await self._api.message(self._stream, sequence, f"read message {sequence} of stream {self._stream}")

    async def last_payloads(self, pattern: str) -> dict[str, bytes]:
        """The last message on each subject that matches."""
        return {message.subject: message.data for message in await self._last_messages(pattern)}

    async def find_tail(self, state: StreamState, *, keys: Collection[bytes] | None) -> Classified | None:
        """The last event or checkpoint of Ditto's; `keys` as for `classify`. Raises TailForged."""
        if not state.messages:
            return None
        oldest = max(state.first_seq, state.last_seq - _BACK + 1)
        found = await self._back_from(state.last_seq, oldest, keys=keys, warns=True)
        if found is not None:
            return found
        # Further back: the last one on each subject that there is.
        all_classified = [
            classify(message, keys=keys, config=self._config) for message in await self._last_messages(">")
        ]
        places = [classified for classified in all_classified if classified.kind is Kind.PLACE]
        found = max(places, key=lambda classified: classified.position, default=None)
        known = state.first_seq - 1 if found is None else found.sequence
        foreign = [classified.sequence for classified in all_classified if classified.kind is Kind.FOREIGN]
        if max(foreign, default=0) > known:
            # One of these may hide a later one of Ditto's on its subject.
            found = await self._back_from(min(oldest, max(foreign)) - 1, known + 1, keys=keys) or found
        return found

    async def _back_from(
        self, last: int, first: int, *, keys: Collection[bytes] | None, warns: bool = False
    ) -> Classified | None:
        """The last event or checkpoint of Ditto's from `last` back to `first`, one message after the other.

        `warns`: of a foreign one at `last`.
        """
        end, at_once = last, 1
        while end >= first:
            begin = max(first, end - at_once + 1)
            messages = await asyncio.gather(*(self.message(sequence) for sequence in range(end, begin - 1, -1)))
            for message in messages:
                if message is None:  # deleted
                    continue
                classified = classify(message, keys=keys, config=self._config)
                if classified.kind is Kind.PLACE:
                    return classified
                if warns and classified.kind is Kind.FOREIGN and classified.sequence == last:
                    log.warning(
                        "stream.foreign_message",
                        stream=self._stream,
                        sequence=classified.sequence,
                        reason="another writer stores into this stream; Ditto goes on, but must be its only writer",
                    )
            end, at_once = begin - 1, _SOME
        return None

    async def _last_messages(self, pattern: str) -> list[StoredMessage]:
        """The last message on each subject that matches."""
        doing = f"read the last messages on {pattern} in stream {self._stream}"
        subjects = await self._api.subjects(self._stream, pattern, f"list the subjects of stream {self._stream}")
        found: list[StoredMessage | None] = []
        for start in range(0, len(subjects), _AT_ONCE):
            some = subjects[start : start + _AT_ONCE]
            found += await asyncio.gather(*(self._api.last_message(self._stream, subject, doing) for subject in some))
        return [message for message in found if message is not None]
