"""A JetStream object store: where events go that no message can hold, whole, before the messages that refer to them.

A bucket is a stream laid out so that every NATS client knows it (`nats object get BUCKET NAME`):
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from ditto.config import Nats
from ditto.decoding.change import StoredObject
from ditto.errors import NotNow, StreamNotFound
from ditto.hints import nats_command
from ditto.sinks.jetstream.api import Api
from ditto.sinks.jetstream.api_answers import PubAck, read_ack
from ditto.sinks.jetstream.api_errors import refusal
from ditto.sinks.jetstream.connection import Connection

log = structlog.get_logger()

_CHUNK: Final = 128 << 10
"""Bytes of a chunk, as the other clients have it."""
_HEADER_ROOM: Final = 512
_ROLLUP: Final = {"Nats-Rollup": "sub"}


class _Options(Struct, frozen=True):
    max_chunk_size: int


class _Info(Struct, frozen=True):
    """What the bucket says about an object: ADR-20's ObjectInfo."""

    name: str
    bucket: str
    nuid: str
    size: int
    chunks: int
    digest: str
    mtime: str = ""
    options: _Options | None = None
    deleted: bool = False


class ObjectBucket:
    """An `ObjectStore` (see `sinks.base`), through the sink's connection. Every call may raise the errors of `Api`."""

    def __init__(self, connection: Connection, config: Nats) -> None:
        self._connection = connection
        self._config = config
        self._bucket = config.object_store.bucket
        self._stream = f"OBJ_{self._bucket}"
        self._api = Api(connection.requests, domain=config.domain)
        self._is_seen = False

    async def exists(self) -> bool:
        """The bucket does."""
        return await self._api.stream_info(self._stream, f"look at bucket {self._bucket}") is not None

    async def try_rights(self, *, exists: bool) -> None:
        """Raises SinkDenied where the user cannot do what `put` does. Nothing is changed."""
        doing = f"store an object in bucket {self._bucket}"
        if not exists:
            await self._api.try_change("CREATE", self._stream, f"create bucket {self._bucket}")
        with suppress(StreamNotFound):
            await self._find(f"$O.{self._bucket}.M.none", doing)
        await self._api.try_purge(self._stream, doing)
        for part in ("C", "M"):
            await self._api.try_publish(f"$O.{self._bucket}.{part}.none", doing)

    async def put(self, name: str, data: memoryview) -> StoredObject:
        """Store an object, which replaces one of this name: another attempt leaves nothing behind.

        The chunks have the object's name in place of a random one, so that the next attempt finds those of this one.
        """
        doing = f"store an object in bucket {self._bucket}"
        await self._see(doing)
        digest = "SHA-256=" + urlsafe_b64encode(sha256(data).digest()).decode()
        stored = StoredObject(self._bucket, name, len(data), digest)
        meta_subject = f"$O.{self._bucket}.M.{urlsafe_b64encode(name.encode()).decode()}"
        before = await self._find(meta_subject, doing)
        if before is not None and (before.size, before.digest, before.deleted) == (len(data), digest, False):
            return stored
        chunk_subject = f"$O.{self._bucket}.C.{name}"
        await self._api.purge(self._stream, chunk_subject, doing)
        size = min(_CHUNK, self._connection.max_payload - _HEADER_ROOM)
        chunks = range(0, len(data), size)
        for start in chunks:
            await self._publish(chunk_subject, bytes(data[start : start + size]), doing)
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        info = _Info(name, self._bucket, name, len(data), len(chunks), digest, now, _Options(size))
        await self._publish(meta_subject, msgspec.json.encode(info), doing, headers=_ROLLUP)
        return stored

    async def _find(self, meta_subject: str, doing: str) -> _Info | None:
        message = await self._api.last_message(self._stream, meta_subject, doing)
        if message is None:
            return None
        try:
            return msgspec.json.decode(message.data, type=_Info)
        except msgspec.MsgspecError:
            return None

    async def _see(self, doing: str) -> None:
        """Create the bucket where it is missing."""
        if self._is_seen:
            return
        if await self._api.stream_info(self._stream, doing) is None:
            await self._create()
        self._is_seen = True

    async def _create(self) -> None:
        if not self._config.create:
            raise StreamNotFound(
                f"bucket {self._bucket} of the object store does not exist, and nats.create is false",
                hint=f"create it: {nats_command(self._config, 'object', 'add', self._bucket)}",
            )
        wanted = {
            "name": self._stream,
            "description": "Events that are too large for a message",
            "subjects": [f"$O.{self._bucket}.C.>", f"$O.{self._bucket}.M.>"],
            "storage": "file",
            "discard": "new",
            "max_age": int(self._config.object_store.ttl_s * 1e9),
            "num_replicas": self._config.replicas,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
        }
        if await self._api.create_stream(wanted, f"create bucket {self._bucket}") is not None:
            log.info("objects.bucket_created", bucket=self._bucket, replicas=self._config.replicas)

    async def _publish(self, subject: str, data: bytes, doing: str, *, headers: dict[str, str] | None = None) -> None:
        message = await self._connection.requests.ask(
            self._api.reached(subject),
            data,
            doing=doing,
            timeout_s=self._config.ack_timeout_s,
            headers=headers,
            is_answer=_is_answer,
        )
        ack = None if message is None else read_ack(message.data)
        if ack is None:
            self._is_seen = False
            raise NotNow(f"cannot {doing}: nothing answers for it", hint="its stream has no leader at the moment")
        if not isinstance(ack, PubAck):
            raise refusal(ack, doing)


def _is_answer(data: bytes) -> bool:
    """Whether JetStream sent this, and not a subscriber to the bucket's subjects that answers."""
    return read_ack(data) is not None
