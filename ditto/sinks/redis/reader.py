"""Reads streams back for the commands that look at them, also while Ditto adds to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ditto.errors import SinkError, StreamNotFound
from ditto.lsn import ORIGIN, Position
from ditto.sinks.base import Held, Part, ReadMessage, Start
from ditto.sinks.reader_retry import retry_delay_s
from ditto.sinks.redis.connecting import open_wire
from ditto.sinks.redis.entries import Entry, Kinds, commit_time, entries_of, merged
from ditto.sinks.redis.stored_state import KIND, entry_id, keys_of, read_state

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.decoding.change import StoredObject
    from ditto.sinks.redis.wire import Wire

_PERIOD_S: Final = 0.1
"""How often the tail is looked at for more."""


class RedisReader:
    """A reader (see `base.Reader`). The streams are read up to the tail: with that all entries before it are there."""

    kind = KIND
    noun = "entry"

    def __init__(self, config: PipelineConfig) -> None:
        if config.redis is None:
            raise RuntimeError("there is no section redis")
        self._config = config.redis
        self._keys = keys_of(config.redis.key_prefix, config.events.prefix)
        self._kinds = Kinds(config.redis.key_prefix, config.events.prefix)
        self._wire: Wire | None = None
        self._number = 0
        """Of entries that were handed on."""

    @property
    def name(self) -> str:
        """How the pipeline's own keys begin."""
        return f"{KIND} {self._keys.label}"

    async def connect(self) -> None:
        """Raises what keeps it from that."""
        self._wire = await open_wire(
            self._config, self._keys, clock=time.monotonic, on_failure=lambda _error: None, reads_only=True
        )

    async def close(self) -> None:
        """Close the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    @property
    def _server(self) -> Wire:
        if self._wire is None:
            raise RuntimeError("connect() comes first")
        return self._wire

    async def look(self) -> Held:
        """By the state, and how long the streams are."""
        key = self._keys.state
        owner, tail = await self._server.ask("read the state", "HMGET", key, "owner", "tail")
        if owner is None and tail is None:
            return Held(exists=False)
        state = read_state(None, tail, None, key)
        asking = [self._server.ask("count entries", "XLEN", stream) for stream in await self._streams()]
        lengths = await asyncio.gather(*asking)
        last_time = None if state.last is None else state.last.commit_time
        return Held(exists=True, tail=state.tail, tail_time=last_time, messages=sum(lengths))

    async def _streams(self) -> list[bytes]:
        found: list[bytes] = await self._server.ask("list the streams", "SMEMBERS", self._keys.streams)
        return sorted(found)

    async def _tail(self) -> Position:
        """Raises StreamNotFound."""
        key = self._keys.state
        owner, tail = await self._server.ask("read the state", "HMGET", key, "owner", "tail")
        if owner is None and tail is None:
            raise StreamNotFound(f"there is no key {key}", hint="has ditto run yet?", key=key)
        return read_state(None, tail, None, key).tail or ORIGIN

    async def read(self) -> AsyncGenerator[Part]:
        """In order of positions, over all streams."""
        end, streams = await self._tail(), await self._streams()
        total = sum(await asyncio.gather(*(self._server.ask("count entries", "XLEN", each) for each in streams)))
        done = 0
        async for entries in merged(self._server, streams, ORIGIN, end):
            done += len(entries)
            yield Part(self._messages(entries), done, max(done, total))

    async def follow(
        self, start: Start, *, is_endless: bool, on_lost: Callable[[SinkError], None]
    ) -> AsyncGenerator[Sequence[ReadMessage]]:
        """Looks at the tail again and again, on connections of its own."""
        after: Position | None = None
        failures = 0
        while True:
            try:
                await self.connect()
                if after is None:
                    after = await self._begin(start, is_endless=is_endless)
                while True:
                    end = await self._tail()
                    if end > after:
                        async for entries in merged(self._server, await self._streams(), after, end):
                            after = entries[-1].position
                            yield self._messages(entries)
                        after = end
                    failures = 0
                    if not is_endless:
                        return
                    await asyncio.sleep(_PERIOD_S)
            except SinkError as error:
                if after is None or not error.is_retryable:
                    raise
                failures += 1
                if failures == 1:
                    on_lost(error)
                await asyncio.sleep(retry_delay_s(failures))
            finally:
                await self.close()

    async def _begin(self, start: Start, *, is_endless: bool) -> Position:
        """The position after which it begins."""
        end = await self._tail()
        if start.since is not None:
            return await self._before(start.since, end)
        if start.last is not None:
            last = await self._last(start.last, end)
            return ORIGIN if last is None else _before(last.position)
        return end if is_endless else ORIGIN

    async def _last(self, count: int, end: Position) -> Entry | None:
        """The entry that is so many before the end."""
        asked = entry_id(end)
        streams = await self._streams()
        answers = await asyncio.gather(
            *(self._server.ask("read streams", "XREVRANGE", each, asked, "-", "COUNT", count) for each in streams)
        )
        found = [entry for each, answer in zip(streams, answers, strict=True) for entry in entries_of(each, answer)]
        found.sort(key=lambda entry: entry.position)
        return found[max(0, len(found) - count)] if found else None

    async def _before(self, since: datetime, end: Position) -> Position:
        """Before the first entry that was committed then or later: commit times grow with positions."""
        low, high = 0, end.commit_lsn + 1
        streams = await self._streams()
        while low < high:
            middle = (low + high) // 2
            first = await self._first(streams, middle)
            time_of = None if first is None else commit_time(first)
            if first is None or time_of is None or datetime.fromisoformat(time_of) >= since:
                high = middle
            else:
                low = first.position.commit_lsn + 1
        return _before(Position(low, 0))

    async def _first(self, streams: Sequence[bytes], lsn: int) -> Entry | None:
        """The first entry at that LSN or later, of those that say when they were committed."""
        answers = await asyncio.gather(
            *(self._server.ask("read streams", "XRANGE", each, lsn, "+", "COUNT", 1) for each in streams)
        )
        found = [entry for each, answer in zip(streams, answers, strict=True) for entry in entries_of(each, answer)]
        timed = [entry for entry in found if commit_time(entry) is not None]
        return min(timed, key=lambda entry: entry.position, default=None)

    async def read_object(self, stored: StoredObject) -> None:
        """There are none: an entry can be of any size that Ditto sends."""

    def _messages(self, entries: list[Entry]) -> list[ReadMessage]:
        first = self._number + 1
        self._number += len(entries)
        return [self._kinds.message(entry, number) for number, entry in enumerate(entries, first)]


def _before(position: Position) -> Position:
    """Right before it, in order of ids: both numbers have 64 bits."""
    if position.ordinal:
        return position._replace(ordinal=position.ordinal - 1)
    return Position(max(0, position.commit_lsn - 1), (1 << 64) - 1 if position.commit_lsn else 0)
