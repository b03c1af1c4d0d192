"""Reads what Ditto stores while it stores it: the stream keeps only the newest control message on each subject."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import nats
import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from ditto.lsn import Position
from e2e.snapshots.oracle import Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from e2e.process import DittoProcess
    from e2e.sinks.file_world import FileWorld
    from e2e.world import World

POLL_S = 0.05
BATCH = 5000


class Recording:
    """All messages so far, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._controls: list[dict[str, Any]] = []
        self._reads: Counter[tuple[str, str]] = Counter()

    async def read_on(self) -> None:
        """Up to the newest message."""
        raise NotImplementedError

    def add(self, message: Message) -> None:
        self.messages.append(message)
        if message.is_control:
            self._controls.append(message.event["snapshot"])
        elif message.is_read:
            self._reads[message.event["snapshot"]["run"], message.event["table"]] += 1

    def forget(self) -> None:
        self.messages.clear()
        self._controls.clear()
        self._reads.clear()

    def controls(self, **fields: object) -> list[dict[str, Any]]:
        """What the control messages say that have these fields."""
        return [each for each in self._controls if all(each.get(name) == value for name, value in fields.items())]

    def reads(self, run: str, table: str | None = None) -> int:
        """READ events of that run."""
        return sum(count for key, count in self._reads.items() if key[0] == run and table in {None, key[1]})

    async def until(
        self, is_so: Callable[[], bool], what: str, *, timeout_s: float = 60, ditto: DittoProcess | None = None
    ) -> None:
        """Read on until `is_so`; fails with `what` after the deadline, and when `ditto` ends."""
        deadline = time.monotonic() + timeout_s
        while True:
            has_ended = ditto is not None and not ditto.is_running
            await self.read_on()
            if is_so():
                return
            output = ditto.output[-6000:] if ditto is not None else ""
            assert not has_ended, f"Ditto has ended before {what}:\n{output}"
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}\n{self._controls[-5:]}\n{output}"
            await asyncio.sleep(POLL_S)

    async def finished(self, run: str, *, timeout_s: float = 120, ditto: DittoProcess | None = None) -> None:
        """Wait until the run has ended, however it did."""
        await self.until(
            lambda: bool(self.controls(run=run, state="finished")),
            f"run {run} is finished",
            timeout_s=timeout_s,
            ditto=ditto,
        )


class StreamRecording(Recording):
    """Of the stream of a world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._last = 0
        self._left = 0
        self._is_done = asyncio.Event()

    async def read_on(self) -> None:
        """Up to the newest; as far as it comes when the server goes away."""
        with suppress(OSError, nats.errors.Error, TimeoutError):
            client = await nats.connect(
                self._world.nats_server.url, allow_reconnect=False, connect_timeout=5, error_cb=_ignored
            )
            try:
                await self._read(client.jetstream())
            finally:
                with suppress(nats.errors.Error):
                    await client.close()

    async def _read(self, jetstream: JetStreamContext) -> None:
        stream = self._world.stream
        try:
            newest = (await jetstream.stream_info(stream)).state.last_seq
        except NotFoundError:
            return
        if newest <= self._last:
            return
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._last + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=30,
            mem_storage=True,
        )
        consumer = await jetstream.add_consumer(stream, config)
        client, before = jetstream._nc, -1
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer.name}"
        while self._last < newest and before != self._last:  # the newest may have been replaced meanwhile
            before = self._last
            self._is_done.clear()
            self._left = BATCH
            inbox = client.new_inbox()
            subscription = await client.subscribe(inbox, cb=self._on_message, pending_bytes_limit=0)
            await client.publish(subject, json.dumps({"batch": BATCH, "no_wait": True}).encode(), inbox)
            async with asyncio.timeout(20):
                await self._is_done.wait()
            await subscription.unsubscribe()
        await jetstream.delete_consumer(stream, consumer.name)

    async def _on_message(self, message: Msg) -> None:
        if not message.reply:
            self._is_done.set()
            return
        sequence, headers = message.metadata.sequence.stream, message.headers or {}
        if sequence > self._last:
            self._last = sequence
            if "Ditto-Position" in headers:
                position = Position.parse(headers["Ditto-Position"])
                event = msgspec.json.decode(message.data)
                self.add(Message(sequence, position, event, headers.get("Ditto-Snapshot")))
        self._left -= 1
        if not self._left:
            self._is_done.set()


async def _ignored(_: Exception) -> None:
    """A server that is killed while it is read."""


class FileRecording(Recording):
    """Of the file of a world."""

    def __init__(self, world: FileWorld, path: Path | None = None) -> None:
        super().__init__()
        self._world = world
        self._path = path or world.path
        self._offset = 0

    async def read_on(self) -> None:
        """Up to the last complete line; from the beginning where the file was cut."""
        if not self._path.exists():
            return
        if self._path.stat().st_size < self._offset:
            self.forget()
            self._offset = 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            *lines, _torn = file.read().split(b"\n")
        self._offset += sum(len(line) + 1 for line in lines)
        for each in self._world.stored(lines):
            number = len(self.messages) + 1
            self.add(Message(number, each.position, msgspec.json.decode(each.payload)))
