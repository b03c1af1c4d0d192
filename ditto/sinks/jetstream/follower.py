"""Gets the stream's messages in order through an ordered consumer, over lost connections, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import ConsumerConfig, DeliverPolicy

from ditto.config import Nats
from ditto.errors import NotNow, SinkError, SinkLost, StreamNotFound, StreamUnusable
from ditto.sinks.base import ReadMessage
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.api import API_TIMEOUT_S
from ditto.sinks.jetstream.api_answers import StreamState, unreadable
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.message_kinds import message_maker
from ditto.sinks.jetstream.stream import Stream
from ditto.sinks.reader_retry import retry_delay_s
from ditto.tasks import end

_WATCH_PERIOD_S: Final = 0.5


class Follower:
    """Gives each message to `on_message`, from the chosen one on; those of the server's own are left out.

    What `on_message` raises ends it. `on_lost` is called with the error when a connection ends; it is made again.
    """

    def __init__(
        self,
        config: Nats,
        *,
        prefix: str,
        on_message: Callable[[ReadMessage], Awaitable[None]],
        on_lost: Callable[[SinkError], None],
        since: datetime | None = None,
        last: int | None = None,
        is_endless: bool = True,
    ) -> None:
        self._config = config
        self._make = message_maker(prefix)
        self._on_message = on_message
        self._on_lost = on_lost
        self._since = since
        self._last = last
        self._is_endless = is_endless
        self._sequence = 0
        """Of the last message that was handed on; where there was none, the one to begin after."""
        self._has_begun = False
        self._end_sequence = 0
        self._done: asyncio.Future[None]
        self._subscription: Subscription | None = None

    async def run(self) -> None:
        """Until cancelled; or, where it is not endless, until the message that was the last when it began.

        Raises StreamNotFound, and what keeps it from connecting the first time. Later losses are tried again.
        """
        failures = 0
        while True:
            before = self._sequence
            try:
                await self._follow()
            except SinkError as error:
                if not self._has_begun or not error.is_retryable:
                    raise
                failures = 0 if self._sequence > before else failures + 1
                if failures <= 1:
                    self._on_lost(error)
                await asyncio.sleep(retry_delay_s(failures))
            else:
                return

    async def _follow(self) -> None:
        self._done = asyncio.get_running_loop().create_future()
        client = await servers.connect(self._config, accept=partial(servers.usable, config=self._config))
        watching = asyncio.ensure_future(self._watch(client))
        try:
            await client.guard(self._read(client))
        finally:
            client.forget_messages()
            await self._unsubscribe()
            await end(watching)
            await servers.close(client)

    async def _read(self, client: Connection) -> None:
        stream = Stream(client, self._config)
        if not await stream.look():
            raise StreamNotFound(f"there is no stream {stream.name}", hint="has ditto run yet?", stream=stream.name)
        state = stream.state
        if not self._has_begun:
            self._end_sequence = state.last_seq
            if not self._is_endless and not state.messages:
                return
        await self._subscribe(client, state)
        self._has_begun = True
        await self._done

    async def _subscribe(self, client: Connection, state: StreamState) -> None:
        name = self._config.stream
        try:
            async with asyncio.timeout(API_TIMEOUT_S):
                subscription = await client.jetstream(domain=self._config.domain).subscribe(
                    ">",
                    stream=name,
                    ordered_consumer=True,
                    config=self._place(state),
                    cb=self._take,
                    # nats-py drops what is over its limits and goes on; flow control bounds what is under way.
                    pending_msgs_limit=0,
                    pending_bytes_limit=0,
                )
                self._subscription = subscription
                consumer = await subscription.consumer_info()
        except nats.js.errors.APIError as error:
            raise StreamUnusable(f"stream {name} cannot be followed: {error.description}", stream=name) from error
        except (nats.errors.Error, TimeoutError) as error:
            raise _not_now(name) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # nats-py does not check the answers
            raise unreadable(error, doing=f"follow stream {name}", request=f"CONSUMER.CREATE.{name}") from error
        delivered = consumer.delivered.consumer_seq if consumer.delivered else 0
        if not self._is_endless and not consumer.num_pending and not delivered and not self._done.done():
            self._done.set_result(None)  # there is nothing from there on

    async def _unsubscribe(self) -> None:
        """End nats-py's tasks, which outlive a client that could not be closed in time."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(Exception):
                await subscription.unsubscribe()

    def _place(self, state: StreamState) -> ConsumerConfig:
        """Where to begin."""
        if not self._sequence and self._since is not None:
            moment = self._since.isoformat().replace("+00:00", "Z")
            return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=moment)  # type: ignore[arg-type]
        if not self._sequence:
            first = state.first_seq
            if self._last is not None:
                self._sequence = max(first, state.last_seq - self._last + 1) - 1
            elif self._is_endless:
                self._sequence = state.last_seq
            else:
                self._sequence = max(first - 1, 0)
        return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._sequence + 1)

    async def _take(self, message: Msg) -> None:
        # In a task of nats-py, which would swallow what is raised here.
        if self._done.done():
            return
        try:
            metadata = message.metadata
            sequence = metadata.sequence.stream
            is_past = not self._is_endless and sequence > self._end_sequence
            if not is_past:
                stored_at = metadata.timestamp.timestamp()
                made = self._make(sequence, message.subject, message.data, message.headers, stored_at)
                if made is not None:
                    await self._on_message(made)
                self._sequence = sequence
            if not self._is_endless and (is_past or sequence >= self._end_sequence or not metadata.num_pending):
                self._done.set_result(None)
        except Exception as error:  # noqa: BLE001  raised where the end is awaited
            _fail(self._done, error)

    async def _watch(self, client: Connection) -> None:
        """nats-py may close a connection without a word."""
        while not client.is_closed:  # noqa: ASYNC110  nats-py has no event for it
            await asyncio.sleep(_WATCH_PERIOD_S)
        _fail(self._done, SinkLost("the connection to NATS ended"))


def _not_now(name: str) -> NotNow:
    return NotNow(f"JetStream does not answer for stream {name}", hint="it is starting, or has no leader", stream=name)


def _fail(done: asyncio.Future[None], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
        done.exception()  # retrieved: asyncio would report it if nothing awaits it any more
