"""Where the lease is kept in NATS: a key of a JetStream key-value bucket, reached through the sink's connection.

A bucket is a stream laid out so that every NATS tool knows it (`nats kv get ditto_leases ORDERS.ditto`):
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md
"""

from __future__ import annotations

from typing import Final

import structlog

from ditto.config import Nats
from ditto.errors import NotNow, StreamNotFound
from ditto.hints import nats_command
from ditto.sinks.base import Entry
from ditto.sinks.jetstream.api import API_TIMEOUT_S, Api
from ditto.sinks.jetstream.api_answers import PubAck, StoredMessage, read_ack
from ditto.sinks.jetstream.api_errors import WRONG_LAST_SEQUENCE, Fault, refusal
from ditto.sinks.jetstream.connection import Connection

log = structlog.get_logger()

BUCKET: Final = "ditto_leases"
_STREAM: Final = f"KV_{BUCKET}"


def lease_key(stream: str, slot: str) -> str:
    """`stream.slot`; what a key may not hold is written byte by byte, as in a URL but with = for %."""
    safe = (
        each
        if each.isascii() and (each.isalnum() or each in "-_")
        else "".join(f"={byte:02X}" for byte in each.encode())
        for each in stream
    )
    return f"{''.join(safe)}.{slot}"


class LeaseBucket:
    """One lease. Every call may raise the errors of `Api`."""

    def __init__(self, connection: Connection, config: Nats, *, slot: str, ttl_s: float) -> None:
        self._connection = connection
        self._config = config
        self._api = Api(connection.requests, domain=config.domain)
        self._subject = f"$KV.{BUCKET}.{lease_key(config.stream, slot)}"
        self._timeout_s = min(ttl_s / 3, API_TIMEOUT_S)

    async def exists(self) -> bool:
        """The bucket does."""
        try:
            await self._stored(f"read the lease in bucket {BUCKET}")
        except StreamNotFound:
            return False
        return True

    async def try_rights(self, *, exists: bool) -> None:
        """Raises SinkDenied where the user cannot do what a lease needs. Nothing is changed."""
        if not exists:
            await self._api.try_change("CREATE", _STREAM, f"create bucket {BUCKET}")
        await self._api.try_publish(self._subject, f"write the lease into bucket {BUCKET}")

    async def read(self) -> Entry:
        """The entry; revision 0 where there is none."""
        try:
            message = await self._stored(f"read the lease in bucket {BUCKET}")
        except StreamNotFound:
            message = None
        return Entry(0, b"") if message is None else Entry(message.seq, message.data)

    async def write(self, value: bytes, *, after: int) -> int | None:
        """Replace the entry of revision `after` (0 for none); the new revision, or None where there is another one.

        Creates the bucket where it is missing, and may be created.
        """
        doing = f"write the lease into bucket {BUCKET}"
        if not after:
            await self._see_bucket(doing)
        ack = await self._publish(value, doing, after=after)
        if ack is None:
            await self._create()
            ack = await self._publish(value, doing, after=after)
        if ack is None:
            raise NotNow(f"cannot {doing}: nothing answers for it", hint="its stream has no leader at the moment")
        if isinstance(ack, PubAck):
            return ack.seq
        if ack.err_code in WRONG_LAST_SEQUENCE:
            return None
        raise refusal(ack, doing)

    async def remove(self, *, after: int) -> None:
        """Delete the entry if it still has the revision `after`."""
        await self._publish(b"", f"remove the lease from bucket {BUCKET}", after=after, operation="DEL")

    async def activity(self) -> int:
        """Of the events' stream: it grows while events are stored, with or without the lease."""
        doing = f"look up stream {self._config.stream}"
        info = await self._api.stream_info(self._config.stream, doing, timeout_s=self._timeout_s)
        if info is None:
            raise StreamNotFound(f"cannot {doing}: it does not exist", hint="it is created when Ditto starts")
        return info.state.last_seq

    async def _stored(self, doing: str) -> StoredMessage | None:
        return await self._api.last_message(_STREAM, self._subject, doing, timeout_s=self._timeout_s)

    async def _see_bucket(self, doing: str) -> None:
        """Create the bucket where it is missing. A publish would not tell where its subjects have a subscriber."""
        try:
            await self._stored(doing)
        except StreamNotFound:
            await self._create()

    async def _create(self) -> None:
        doing = f"create bucket {BUCKET}"
        if not self._config.create:
            raise StreamNotFound(
                f"bucket {BUCKET} does not exist, and nats.create is false",
                hint=f"create it: {nats_command(self._config, 'kv', 'add', BUCKET)}",
            )
        wanted = {
            "name": _STREAM,
            "description": "Which Ditto works for a stream, while several stand ready",
            "subjects": [f"$KV.{BUCKET}.>"],
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "num_replicas": self._config.replicas,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "deny_delete": True,
        }
        if await self._api.create_stream(wanted, doing, timeout_s=self._timeout_s) is not None:
            log.info("lease.bucket_created", bucket=BUCKET, replicas=self._config.replicas)

    async def _publish(
        self, value: bytes, doing: str, *, after: int, operation: str | None = None
    ) -> PubAck | Fault | None:
        """Store one message; None where the server says at once that no stream takes it."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(after)}
        if operation is not None:
            headers["KV-Operation"] = operation
        subject = self._api.reached(self._subject)  # the entry has its own subject all the same
        message = await self._connection.requests.ask(
            subject, value, doing=doing, timeout_s=self._timeout_s, headers=headers, is_answer=_is_answer
        )
        return None if message is None else read_ack(message.data)


def _is_answer(data: bytes) -> bool:
    """Whether JetStream sent this, and not a subscriber to the bucket's subjects that answers."""
    return read_ack(data) is not None
