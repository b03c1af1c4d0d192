"""The messages of a stream from its first to its last, in batches that are asked for one after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import nats.errors

from ditto.errors import SinkError, SinkLost
from ditto.sinks.base import Part, ReadMessage
from ditto.sinks.jetstream.message_kinds import message_maker

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from ditto.sinks.jetstream.api import Api
    from ditto.sinks.jetstream.api_answers import StreamState

BATCH_MESSAGES = 4000
BATCH_BYTES = 16 * 1024 * 1024
MESSAGE_ROOM = 64 * 1024
"""Bytes of a message besides its headers and payload."""
BATCH_TIMEOUT_S = 30
_KEPT_NS: Final = 60 * 1_000_000_000
"""How long the server keeps the consumer after the last request."""
_BATCH_ENDS: Final = frozenset({"batch completed", "message size exceeds maxbytes"})


async def read_batches(
    client: Client, api: Api, stream: str, state: StreamState, *, prefix: str
) -> AsyncGenerator[Part]:
    """Up to the last message of `state`. Raises SinkLost where some could not be read, TimeoutError, nats.errors.Error.

    Pull requests of its own: nats-py's fetch costs several times as much for each message.
    """
    wanted = {
        "deliver_policy": "all",
        "ack_policy": "none",
        "mem_storage": True,
        "inactive_threshold": _KEPT_NS,
    }
    batches = BatchReader(prefix, last_sequence=state.last_seq)
    consumer = await api.create_consumer(stream, wanted, f"read stream {stream}")
    inbox = client.new_inbox()
    subscription = await client.subscribe(f"{inbox}.*", cb=batches.on_message)
    request = {
        "batch": BATCH_MESSAGES,
        # A batch has room for any one message, but no more than the server has for a client that is slow (64 MB).
        "max_bytes": max(BATCH_BYTES, client.max_payload + MESSAGE_ROOM),
        "no_wait": True,
    }
    try:
        while not batches.is_done:
            async with asyncio.timeout(BATCH_TIMEOUT_S):
                await client.publish(
                    api.next_subject(stream, consumer.name),
                    json.dumps(request).encode(),
                    batches.expect_batch(inbox),
                )
                await batches.batch
            yield Part(batches.take(), batches.messages, state.messages)
    finally:
        if client.is_connected:
            with suppress(nats.errors.Error, SinkError):  # the server removes it by itself
                await subscription.unsubscribe()
                await api.delete_consumer(stream, consumer.name, "remove the consumer")


class BatchReader:
    """Takes the messages of one batch after the other.

    A batch ends with its last message, or with a status of the server: what it says about a batch may come later than
    the batch's last message, when the next one has begun. So each batch has a subject of its own for its statuses.
    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md
    """

    def __init__(self, prefix: str, *, last_sequence: int) -> None:
        self.messages = 0
        """How many have come, those of the server's own included."""
        self.is_done = False
        self._make = message_maker(prefix)
        self._last_sequence = last_sequence
        self._batches = 0
        self._inbox = ""
        self._left = 0
        self._taken: list[ReadMessage] = []
        self.batch: asyncio.Future[None]

    def expect_batch(self, inbox: str) -> str:
        """Begin a batch; returns the subject for its statuses."""
        self.batch = asyncio.get_running_loop().create_future()
        self._batches += 1
        self._inbox = f"{inbox}.{self._batches}"
        self._left = BATCH_MESSAGES
        return self._inbox

    def take(self) -> list[ReadMessage]:
        """The messages that have come since the last call."""
        taken, self._taken = self._taken, []
        return taken

    async def on_message(self, message: Msg) -> None:
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
        else:
            if is_end and not self.batch.done():
                self.batch.set_result(None)

    def _is_end(self, message: Msg) -> bool:
        """Whether a status ends the batch that is expected."""
        if message.subject != self._inbox:
            return False
        headers = message.headers or {}
        status, words = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return False
        if status in {"404", "408"}:
            # Nothing is left: the last messages have been removed meanwhile.
            self.is_done = self.is_done or self._left == BATCH_MESSAGES
            return True
        if status == "409" and words.lower() in _BATCH_ENDS and self._left < BATCH_MESSAGES:
            return True
        raise SinkLost(f"the stream could not be read to its end: {status} {words or 'no consumer answers'}")

    def _keep(self, message: Msg) -> None:
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<ns>.<pending>, or after
        # $JS.ACK also the domain and the account.
        parts = message.reply.split(".")
        sequence, consumer_sequence, stored_ns, pending = map(int, parts[5:9] if len(parts) == 9 else parts[7:11])
        self.messages += 1
        if consumer_sequence != self.messages:
            raise SinkLost("messages were lost between the server and the check", sequence=sequence)
        # Pending tells the end where the last messages have been removed meanwhile.
        self.is_done = sequence >= self._last_sequence or not pending
        made = self._make(sequence, message.subject, message.data, message.headers, stored_ns / 1e9)
        if made is not None:
            self._taken.append(made)
