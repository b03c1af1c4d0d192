"""A database, a stream and a slot of their own for one test, and what the test asks about them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import nats
import psycopg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RawStreamMsg, StreamInfo
from nats.js.errors import NotFoundError
from psycopg import conninfo

from ditto.config import Types
from ditto.formats.stored_groups import events_in
from ditto.lsn import Position, parse_lsn
from ditto.source.sql import open_control
from ditto.testing.stream_replay import replay
from ditto.verify import Unjudged, compare, read_publication, table_keys
from e2e.process import DittoProcess, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from ditto.testing.servers import NatsServer, PostgresServer


class Stored(NamedTuple):
    """A message of the stream."""

    sequence: int
    subject: str
    position: Position
    payload: bytes
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.payload)
        return event

    @property
    def change(self) -> tuple[str, str, Any]:
        """Table, action, and the value of the column `id`, of the old row for a DELETE."""
        event = self.event
        return event["table"], event["action"], (event["data"] or event["dataOld"]).get("id")


class World:
    """Has the database `name`, and uses `name` for the stream (upper case), the slot and the publication.

    The table `fence` is there from the start: `events` writes into it to know when everything has arrived.
    """

    def __init__(
        self, postgres: PostgresServer, nats_server: NatsServer, *, name: str, folder: Path, options: str = ""
    ) -> None:
        self.postgres = postgres
        self.nats_server = nats_server
        self.name = name
        self.stream = name.upper()
        self.folder = folder
        self.fence_subject = f"{name}_public_fence"
        self.settings = {
            "DITTO_POSTGRES_DSN": self.dsn,
            "DITTO_POSTGRES_SLOT": name,
            "DITTO_POSTGRES_PUBLICATION": name,
            "DITTO_NATS_URL": nats_server.url,
            "DITTO_NATS_STREAM": self.stream,
            "DITTO_EVENTS_PREFIX": name,
        }
        self._processes: list[DittoProcess] = []
        self.sql(f"CREATE DATABASE {name} {options}", dsn=postgres.dsn)
        self.sql("CREATE TABLE fence (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")

    def close(self) -> None:
        for process in self._processes:
            process.kill()

    # ------------------------------------------------------------------------------------ PostgreSQL

    @property
    def dsn(self) -> str:
        return self.postgres.dsn.removesuffix("/postgres") + f"/{self.name}"

    def dsn_by(self, port: int, **more: str) -> str:
        """The same database through another port, with more parameters."""
        return conninfo.make_conninfo(self.dsn, port=str(port), **more)

    def sql(self, *statements: str, dsn: str | None = None) -> list[Any]:
        """Run each statement in a transaction of its own; the rows of the last one."""
        rows: list[Any] = []
        with psycopg.connect(dsn or self.dsn, autocommit=True, client_encoding="UTF8") as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.rownumber is not None else []
        return rows

    @property
    def major(self) -> int:
        """The server's major version."""
        return int(self.value("SHOW server_version_num")) // 10000

    def connect(self) -> psycopg.Connection[Any]:
        """A connection that begins transactions by itself."""
        return psycopg.connect(self.dsn, client_encoding="UTF8")

    def transaction(self, *statements: str) -> None:
        """Run all statements in one transaction."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def value(self, query: str) -> Any:
        return self.sql(query)[0][0]

    @property
    def confirmed_lsn(self) -> int:
        """The slot's."""
        return parse_lsn(
            self.value(f"SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{self.name}'")
        )

    @property
    def is_slot_active(self) -> bool:
        return bool(self.value(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{self.name}'"))

    async def slot_is_free(self, *, timeout_s: float = 20) -> None:
        await eventually(lambda: not self.is_slot_active, "the slot is free", timeout_s=timeout_s)

    # ------------------------------------------------------------------------------------ Ditto

    def ditto(self, **settings: object) -> DittoProcess:
        """Start `ditto run`; `nats_ack_timeout="1s"` sets the key `nats.ack_timeout`, a dict is given as JSON."""
        given = {
            f"DITTO_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in settings.items()
        }
        process = DittoProcess(self.folder / f"ditto{len(self._processes)}.log", {**self.settings, **given})
        self._processes.append(process)
        return process

    async def streaming(self, **settings: object) -> DittoProcess:
        """Start `ditto run`, and wait until it streams."""
        process = self.ditto(**settings)
        await process.streaming()
        return process

    # ------------------------------------------------------------------------------------ NATS

    @asynccontextmanager
    async def jetstream(self) -> AsyncIterator[JetStreamContext]:
        client = await nats.connect(self.nats_server.url, allow_reconnect=False)
        try:
            yield client.jetstream()
        finally:
            await client.close()

    async def info(self) -> StreamInfo:
        async with self.jetstream() as jetstream:
            return await jetstream.stream_info(self.stream)

    async def message_count(self) -> int:
        """Messages in the stream; 0 without a stream."""
        try:
            return (await self.info()).state.messages
        except NotFoundError:
            return 0

    async def holds(self, count: int, *, timeout_s: float = 30) -> None:
        """Wait until the stream's last sequence is at least `count`."""
        deadline = time.monotonic() + timeout_s
        async with self.jetstream() as jetstream:
            while True:
                try:
                    last = (await jetstream.stream_info(self.stream)).state.last_seq
                except NotFoundError:
                    last = 0
                if last >= count:
                    return
                assert time.monotonic() < deadline, f"the stream holds {last}, not {count}, after {timeout_s:g} s"

    async def tail(self) -> Position:
        """The position of the last message."""
        async with self.jetstream() as jetstream:
            state = (await jetstream.stream_info(self.stream)).state
            message = await jetstream.get_msg(self.stream, state.last_seq)
            return Position.parse((message.headers or {})["Ditto-Position"])

    async def confirms_tail(self) -> None:
        """Wait until the last message is acknowledged and confirmed: nothing is under way."""
        tail = await self.tail()
        await eventually(lambda: self.confirmed_lsn >= tail.commit_lsn, "the last message is confirmed")

    async def messages(self) -> list[Stored]:
        """All messages, checkpoints included. Their positions increase strictly, or the test fails; only a table's
        description has that of the message before it.
        """
        found: list[Stored] = []
        async with self.jetstream() as jetstream:
            state = (await jetstream.stream_info(self.stream)).state
            if not state.messages:
                return []
            config = ConsumerConfig(
                deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, inactive_threshold=60, mem_storage=True
            )
            consumer = await jetstream.add_consumer(self.stream, config)
            reader = Reader(jetstream._nc, f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{consumer.name}")
            while not found or found[-1].sequence < state.last_seq:
                found += await reader.read()
        everything = [message.position for message in found]
        assert everything == sorted(everything), "positions increase"
        positions = [message.position for message in found if "._schema." not in message.subject]
        assert positions == sorted(set(positions)), "positions increase strictly"
        return found

    async def fence(self, *, timeout_s: float = 30) -> None:
        """Wait until everything that is committed now has arrived."""
        number = self.value("INSERT INTO fence DEFAULT VALUES RETURNING n")
        deadline = time.monotonic() + timeout_s
        async with self.jetstream() as jetstream:
            while True:
                try:
                    last: RawStreamMsg | None = await jetstream.get_last_msg(self.stream, self.fence_subject)
                except NotFoundError:
                    last = None
                events = [json.loads(each) for each in events_in(last.data)] if last is not None and last.data else []
                if any(each["data"].get("n") == number and each.get("table", "fence") == "fence" for each in events):
                    return
                assert time.monotonic() < deadline, "\n".join(
                    ["the fence has not arrived", *(process.output for process in self._processes)]
                )

    async def events(self, *, timeout_s: float = 30) -> list[Stored]:
        """Every event, once all that is committed now has arrived; without checkpoints and fences."""
        await self.fence(timeout_s=timeout_s)
        return [
            message
            for message in await self.messages()
            if message.subject not in {self.fence_subject, f"{self.name}._checkpoint"}
        ]

    async def descriptions(self) -> list[bytes]:
        """Those of tables that are stored, in order (`events.schemas`)."""
        return [message.payload for message in await self.messages() if "._schema." in message.subject]

    async def matches_tables(
        self,
        *,
        event_count: int | None = None,
        types: Types | None = None,
        unjudged: Iterable[Unjudged] = (),
        publication: str | None = None,
    ) -> None:
        """The stream, replayed, gives exactly the tables; and it holds `event_count` events besides the fences.

        `types` are the options that it was written with; `unjudged` what the stream cannot tell.
        """
        client = await nats.connect(self.nats_server.url, allow_reconnect=False)
        try:
            async with open_control(self.dsn) as control:
                published = await read_publication(control, publication or self.name)
                keys = await table_keys(control, published.tables)
                copy = await replay(client, self.stream, keys=keys, prefix=self.name)
                assert copy.differences == []
                result = await compare(control, copy, publication=published, types=types or Types())
                assert (result.differences, result.unjudged) == ([], list(unjudged))
        finally:
            await client.close()
        if event_count is not None:
            fence = copy.tables.get(("public", "fence"))
            assert copy.events - (len(fence) if fence else 0) == event_count


class Reader:
    """Reads a consumer in batches: nats-py's own fetch costs several times as much for each message."""

    BATCH = 5000

    def __init__(self, client: Client, subject: str) -> None:
        self._client = client
        self._subject = subject
        self._batch: list[Stored] = []
        self._count = 0
        self._is_done = asyncio.Event()

    async def read(self) -> list[Stored]:
        self._batch = []
        self._count = 0
        self._is_done.clear()
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=self._on_message, pending_bytes_limit=0)
        request = json.dumps({"batch": self.BATCH, "no_wait": True})
        await self._client.publish(self._subject, request.encode(), inbox)
        async with asyncio.timeout(20):
            await self._is_done.wait()
        await subscription.unsubscribe()
        return self._batch

    async def _on_message(self, message: Msg) -> None:
        if message.reply:
            position = Position.parse((message.headers or {})["Ditto-Position"])
            sequence = message.metadata.sequence.stream
            found = Stored(sequence, message.subject, position, message.data, dict(message.headers or {}))
            self._batch += _events_of(found) if "Ditto-Events" in found.headers else [found]
            self._count += 1
        if not message.reply or self._count == self.BATCH:
            self._is_done.set()


def _events_of(group: Stored) -> list[Stored]:
    """Each event of a group as if it had been a message: their ordinals follow each other, or are in `meta`."""
    payloads = events_in(group.payload)
    assert len(payloads) == int(group.headers["Ditto-Events"])
    first, found = int(group.headers["Ditto-First"]), []
    for index, payload in enumerate(payloads):
        ordinal = json.loads(payload).get("meta", {}).get("ordinal", first + index)
        found.append(group._replace(payload=payload, position=group.position._replace(ordinal=ordinal)))
    assert (found[0].position.ordinal, found[-1].position) == (first, group.position)
    return found
