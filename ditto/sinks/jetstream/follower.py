"""Gets the stream's messages in order, over lost connections and lost consumers, and changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

import nats.errors

from ditto.config import Nats
from ditto.errors import SinkError, SinkLost, StreamNotFound
from ditto.sinks.base import ReadMessage
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.api import Api
from ditto.sinks.jetstream.api_answers import StreamState
from ditto.sinks.jetstream.batch_reader import KEPT_NS, BatchReader, BatchRequests, reading
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.reader_retry import retry_delay_s

_BATCH_MESSAGES: Final = 500
_BATCH_BYTES: Final = 256 * 1024
"""Twice as much is in memory for somebody who does not take it: a batch that is handed on, and the next one."""
_EXPIRES_S: Final = 30
"""Less than the server keeps a consumer that nobody asks."""
_HEARTBEAT_S: Final = 5
_SILENT_S: Final = 15.0
"""Without a message or a heartbeat the consumer has gone, with the server that kept it."""
_WATCH_PERIOD_S: Final = 0.5
_NEW_S: Final = 1.0
"""A consumer that is lost as soon as it was made is a fault, and not made again at once."""
_NS: Final = 1_000_000_000


class Follower:
    """The messages from the chosen one on; those of the server's own are left out.

    `on_lost` is called with the error when a connection ends; it is made again.
    """

    def __init__(
        self,
        config: Nats,
        *,
        prefix: str,
        on_lost: Callable[[SinkError], None],
        since: datetime | None = None,
        last: int | None = None,
        is_endless: bool = True,
    ) -> None:
        self._config = config
        self._prefix = prefix
        self._on_lost = on_lost
        self._since = since
        self._last = last
        self._is_endless = is_endless
        self._sequence = 0
        """Of the last message that was handed on; where there was none, the one to begin after."""
        self._has_begun = False
        self._end_sequence = 0

    async def messages(self) -> AsyncGenerator[list[ReadMessage]]:
        """For ever; or, where it is not endless, until the message that was the last when it began.

        Raises StreamNotFound, and what keeps it from connecting the first time. Later losses are tried again.
        """
        failures = 0
        while True:
            before = self._sequence
            try:
                async with aclosing(self._connected()) as parts:
                    async for part in parts:
                        yield part
            except SinkError as error:
                if not self._has_begun or not error.is_retryable:
                    raise
                failures = 0 if self._sequence > before else failures + 1
                if failures <= 1:
                    self._on_lost(error)
                await asyncio.sleep(retry_delay_s(failures))
            else:
                return

    async def _connected(self) -> AsyncGenerator[list[ReadMessage]]:
        client = await servers.connect(self._config, accept=partial(servers.usable, config=self._config))
        try:
            api = Api(client.requests, domain=self._config.domain)
            state = await client.guard(self._look(api))
            if not self._has_begun:
                self._end_sequence = state.last_seq
                if not self._is_endless and not state.messages:
                    return
            while True:
                async with aclosing(self._consumed(client, api, state)) as parts:
                    async for part in parts:
                        yield part
                if not self._is_endless and self._sequence >= self._end_sequence:
                    return
        except nats.errors.Error as error:
            raise SinkLost(f"cannot {self._doing}: {str(error) or type(error).__name__}") from error
        finally:
            await servers.close(client)

    @property
    def _doing(self) -> str:
        return f"follow stream {self._config.stream}"

    async def _look(self, api: Api) -> StreamState:
        name = self._config.stream
        info = await api.stream_info(name, self._doing)
        if info is None:
            raise StreamNotFound(f"there is no stream {name}", hint="has ditto run yet?", stream=name)
        return info.state

    async def _consumed(self, client: Connection, api: Api, state: StreamState) -> AsyncGenerator[list[ReadMessage]]:
        """What one consumer gives, until it is lost; the next one begins after the last message of this one."""
        name = self._config.stream
        wanted = {"ack_policy": "none", "mem_storage": True, "inactive_threshold": KEPT_NS, **self._place(state)}
        consumer = await client.guard(api.create_consumer(name, wanted, self._doing))
        began_at = time.monotonic()
        self._has_begun = True
        if not self._is_endless and not consumer.num_pending:
            self._sequence = self._end_sequence  # there is nothing from there on
            return
        batches = BatchReader(
            self._prefix, batch=_BATCH_MESSAGES, last_sequence=None if self._is_endless else self._end_sequence
        )
        async with reading(
            client, api, batches, of=(name, consumer.name), terms=self._terms(), max_bytes=_BATCH_BYTES
        ) as requests:
            try:
                async with aclosing(self._batches(client, batches, requests)) as parts:
                    async for part in parts:
                        yield part
            except _ConsumerLost as error:
                if not batches.messages and time.monotonic() - began_at < _NEW_S:
                    raise SinkLost(f"cannot {self._doing}: {error}", stream=name) from error

    async def _batches(
        self, client: Connection, batches: BatchReader, requests: BatchRequests
    ) -> AsyncGenerator[list[ReadMessage]]:
        await requests.ask()
        while True:
            await client.guard(_news(client, batches))
            found = batches.take()
            ended = batches.batch if batches.batch.done() else None
            error = None if ended is None else ended.exception()
            self._sequence = self._end_sequence if batches.is_done else max(self._sequence, batches.sequence)
            if ended is not None and error is None and not batches.is_done:
                await requests.ask()  # the next batch comes while this one is handed on
            if found:
                yield found
            if batches.is_done:
                return
            if error is not None:
                raise _ConsumerLost(str(error)) from error

    def _terms(self) -> dict[str, Any]:
        if not self._is_endless:
            return {"batch": _BATCH_MESSAGES, "no_wait": True}
        return {"batch": _BATCH_MESSAGES, "expires": _EXPIRES_S * _NS, "idle_heartbeat": _HEARTBEAT_S * _NS}

    def _place(self, state: StreamState) -> dict[str, Any]:
        """Where to begin."""
        if not self._sequence and self._since is not None:
            moment = self._since.isoformat().replace("+00:00", "Z")
            return {"deliver_policy": "by_start_time", "opt_start_time": moment}
        if not self._sequence:
            first = state.first_seq
            if self._last is not None:
                self._sequence = max(first, state.last_seq - self._last + 1) - 1
            elif self._is_endless:
                self._sequence = state.last_seq
            else:
                self._sequence = max(first - 1, 0)
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._sequence + 1}


class _ConsumerLost(Exception):
    """The server has removed the consumer, or lost it, or one of its messages was lost on the way."""


async def _news(client: Connection, batches: BatchReader) -> None:
    """Wait until something has come. Raises _ConsumerLost, SinkLost."""
    deadline = time.monotonic() + _SILENT_S
    while not batches.news.is_set():
        if client.is_closed:  # nats-py may close a connection without a word
            raise SinkLost("the connection to NATS ended")
        if time.monotonic() > deadline:
            raise _ConsumerLost("nothing has come for a while")
        with suppress(TimeoutError):
            async with asyncio.timeout(_WATCH_PERIOD_S):
                await batches.news.wait()
    batches.news.clear()
