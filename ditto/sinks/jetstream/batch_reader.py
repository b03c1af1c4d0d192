"""Reads a consumer's messages by pull requests, one after the other: no more is ever under way than one asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import nats.errors

from ditto.errors import SinkError, SinkLost
from ditto.sinks.base import ReadMessage
from ditto.sinks.jetstream.message_kinds import message_maker

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from ditto.sinks.jetstream.api import Api

KEPT_NS: Final = 60 * 1_000_000_000
"""How long the server keeps the consumer after the last request."""
_MESSAGE_ROOM: Final = 64 * 1024
"""Bytes of a message besides its headers and payload."""
_BATCH_ENDS: Final = frozenset({"batch completed", "message size exceeds maxbytes"})
_END_S: Final = 2.0


class BatchReader:
    """Takes the messages of one batch after the other, in order and without a hole.

    A batch ends with its last message, or with a status of the server: what it says about a batch may come later than
    the batch's last message, when the next one has begun. So each batch has a subject of its own for its statuses.
    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md
    """

    def __init__(self, prefix: str, *, batch: int, last_sequence: int | None = None) -> None:
        """So many messages a `batch`, up to the message `last_sequence`; without one there is always more to come."""
        self.messages = 0
        """How many have come, those of the server's own included."""
        self.sequence = 0
        """Of the last one."""
        self.is_done = False
        self.needs_room = False
        """The next message is larger than the batch that has ended."""
        self.batch: asyncio.Future[None]
        self.news = asyncio.Event()
        """Something has come, if only a sign of life; who waits for it clears it."""
        self._make = message_maker(prefix)
        self._size = batch
        self._last_sequence = last_sequence
        self._batches = 0
        self._inbox = ""
        self._left = 0
        self._taken: list[ReadMessage] = []

    def expect_batch(self, inbox: str) -> str:
        """Begin a batch; returns the subject for its statuses."""
        self.batch = asyncio.get_running_loop().create_future()
        self._batches += 1
        self._inbox = f"{inbox}.{self._batches}"
        self._left = self._size
        return self._inbox

    def take(self) -> list[ReadMessage]:
        """The messages that have come since the last call."""
        taken, self._taken = self._taken, []
        return taken

    async def on_message(self, message: Msg) -> None:
        """In a task of nats-py, which would swallow what is raised here."""
        self.news.set()
        try:
            if message.reply:
                self._keep(message)
                self._left -= 1
                is_end = self.is_done or not self._left
            else:
                is_end = self._is_end(message)
        except Exception as error:  # noqa: BLE001  # raised where the batch is awaited
            if not self.batch.done():
                self.batch.set_exception(error)
                self.batch.exception()  # retrieved: asyncio would report it if nothing awaits it any more
        else:
            if is_end and not self.batch.done():
                self.batch.set_result(None)

    def _is_end(self, message: Msg) -> bool:
        """Whether a status ends the batch that is expected."""
        if message.subject != self._inbox:
            return False
        headers = message.headers or {}
        status, words = headers.get("Status", ""), headers.get("Description", "")
        is_empty = self._left == self._size
        if status == "100":
            return False
        if status in {"404", "408"}:
            # Nothing is left: the last messages have been removed meanwhile.
            self.is_done = self.is_done or (is_empty and self._last_sequence is not None)
            return True
        if status == "409" and words.lower() in _BATCH_ENDS and not (is_empty and self.needs_room):
            self.needs_room = is_empty
            return True
        raise SinkLost(f"the stream could not be read to its end: {status} {words or 'no consumer answers'}")

    def _keep(self, message: Msg) -> None:
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<ns>.<pending>, or after
        # $JS.ACK also the domain and the account.
        parts = message.reply.split(".")
        sequence, consumer_sequence, stored_ns, pending = map(int, parts[5:9] if len(parts) == 9 else parts[7:11])
        if self._last_sequence is not None and sequence > self._last_sequence:
            self.is_done = True
            return
        self.messages += 1
        if consumer_sequence != self.messages:
            raise SinkLost("messages were lost on the way from the server", sequence=sequence)
        self.sequence, self.needs_room = sequence, False
        if self._last_sequence is not None:
            # Pending tells the end where the last messages have been removed meanwhile.
            self.is_done = sequence >= self._last_sequence or not pending
        made = self._make(sequence, message.subject, message.data, message.headers, stored_ns / 1e9)
        if made is not None:
            self._taken.append(made)


class BatchRequests:
    """Asks for the batches that a reader takes."""

    def __init__(
        self, client: Client, subject: str, reader: BatchReader, *, inbox: str, terms: dict[str, Any], max_bytes: int
    ) -> None:
        self._client = client
        self._subject = subject
        self._reader = reader
        self._inbox = inbox
        self._terms = terms
        self._max_bytes = max_bytes

    async def ask(self) -> None:
        """For the next batch, which has room for any one message if the next one needs it."""
        room = self._client.max_payload + _MESSAGE_ROOM if self._reader.needs_room else 0
        request = {**self._terms, "max_bytes": max(self._max_bytes, room)}
        reply = self._reader.expect_batch(self._inbox)
        await self._client.publish(self._subject, msgspec.json.encode(request), reply)


@asynccontextmanager
async def reading(
    client: Client, api: Api, reader: BatchReader, *, of: tuple[str, str], terms: dict[str, Any], max_bytes: int
) -> AsyncIterator[BatchRequests]:
    """Let the `reader` take what comes of requests with these `terms` to a consumer, `of` a stream and a name.

    The consumer is removed at the end. Raises nats.errors.Error.
    """
    stream, consumer = of
    inbox = client.new_inbox()
    subscription = await client.subscribe(f"{inbox}.*", cb=reader.on_message)
    subject = api.next_subject(stream, consumer)
    try:
        yield BatchRequests(client, subject, reader, inbox=inbox, terms=terms, max_bytes=max_bytes)
    finally:
        reader.take()  # nats-py's objects refer to each other: this would stay until the next collection of garbage
        # The server removes the consumer by itself a minute later. Unsubscribing ends a task of nats-py's, which
        # outlives a client that could not be closed in time.
        with suppress(nats.errors.Error, OSError, SinkError, TimeoutError):
            async with asyncio.timeout(_END_S):
                await subscription.unsubscribe()
                await api.delete_consumer(stream, consumer, "remove the consumer")
