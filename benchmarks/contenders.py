"""The programs that are compared, each draining a slot as a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import nats
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from benchmarks.metering import Meter, peak_rss_bytes
from benchmarks.servers import ReplicationLog, Transport
from ditto.lsn import parse_lsn
from ditto.testing.servers import NatsServer

_DEADLINE_S: Final = 600.0
_STOP_DEADLINE_S: Final = 60.0
_POLL_S: Final = 0.01
_SET_UP_POLL_S: Final = 0.005
GROUPS: Final = "ditto.transactions"
LAST_RECORDS_BYTES: Final = 8192
"""More than the commit record and what the server itself writes after it."""
_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059
_TOP: Final = Path(__file__).parent.parent

T = TypeVar("T")


class Task(NamedTuple):
    """What is to be drained."""

    transport: Transport
    slot: str
    publication: str
    events: int
    end_lsn: str
    """Past the last of the events."""
    transactions: int = 0


class Drain(NamedTuple):
    """What it took, from START_REPLICATION (as PostgreSQL's log has it) to the last event."""

    duration_s: float
    client_cpu_s: float
    walsender_cpu_s: float
    nats_cpu_s: float
    peak_rss_bytes: int
    """Of the client; 0 where it was not measured."""
    set_up_s: float = 0.0
    """How much of `duration_s` had passed when streaming began; 0 where it was not measured."""
    set_up_cpu_s: float = 0.0
    """How much of `client_cpu_s` was spent by then."""


class WrongCount(Exception):
    """A contender did not deliver each event once: its figures mean nothing."""


class Contender(Protocol):
    """One program. `drain` raises WrongCount, and TimeoutError when it does not get there."""

    @property
    def name(self) -> str: ...

    async def drain(self, task: Task) -> Drain: ...


class RecvLogical:
    """pg_recvlogical, which only writes what it gets to /dev/null: what a slot can give.

    It ends by itself when it has received everything up to the end LSN; the last moment is when it disconnects.
    """

    name = "pg_recvlogical"

    async def drain(self, task: Task) -> Drain:
        server = task.transport.server
        log = ReplicationLog(server.log_path)
        options = ["proto_version=1", f"publication_names={task.publication}", "messages=true"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = await asyncio.create_subprocess_exec(
            server.bin_dir / "pg_recvlogical",
            *("--dbname", task.transport.dsn, "--slot", task.slot, "--start", "--no-loop"),
            *("--endpos", task.end_lsn, "--file", "/dev/null"),
            *(part for option in options for part in ("--option", option)),
        )
        async with Ending(process):
            started_at, walsender_pid = await log.started(task.slot)
            walsender = Meter(walsender_pid)
            async with asyncio.timeout(_DEADLINE_S):
                while process.returncode is None:
                    walsender.read()
                    await asyncio.sleep(_POLL_S)
            if process.returncode:
                raise RuntimeError(f"pg_recvlogical ended with exit code {process.returncode}")
            ended_at = await log.ended(walsender_pid)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Drain(ended_at - started_at, cpu_s, walsender.cpu_s, 0.0, 0)


class DittoNull:
    """The pipeline with a sink that stores nothing; the last moment is when that has got the last event."""

    name = "ditto, null sink"

    async def drain(self, task: Task) -> Drain:
        log = ReplicationLog(task.transport.server.log_path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.null_pipeline", "--dsn", task.transport.dsn, "--slot", task.slot),
            *("--publication", task.publication, "--events", str(task.events)),
            cwd=_TOP,
            stdout=PIPE,
            limit=1 << 20,
        )
        async with Ending(process):
            started_at, walsender_pid = await log.started(task.slot)
            client, walsender = Meter(process.pid), Meter(walsender_pid)
            if process.stdout is None:
                raise RuntimeError("no standard output")
            async with asyncio.timeout(_DEADLINE_S):
                line = await process.stdout.readline()
            if not line:
                raise RuntimeError(f"the pipeline ended with exit code {await process.wait()}")
            told = json.loads(line)
            found = Drain(told["at"] - started_at, client.read(), walsender.read(), 0.0, peak_rss_bytes(process.pid))
            await stop(process)
            last = json.loads(await process.stdout.readline())
        if last["events"] != task.events:
            raise WrongCount(f"{last['events']} events went through where {task.events} were written")
        return found


class DittoJetStream:
    """`ditto run` into a JetStream stream (file storage, one replica); the last moment is when the last event
    was stored, as its own timestamp says. That it was acknowledged shows in a clean end.
    """

    def __init__(
        self,
        nats_server: NatsServer,
        *,
        name: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-m", "ditto", "run"),
        folder: Path = _TOP,
    ) -> None:
        """`folder`: the checkout whose Ditto it is, where `program` is an interpreter."""
        self.name = name
        self._folder = folder
        self._program = program
        self._server = nats_server
        self._environment = environment or {}

    async def drain(self, task: Task) -> Drain:
        client = await nats.connect(self._server.url)
        try:
            return await self._drain(task, Stream(client, task.slot))
        finally:
            await client.close()

    async def start(self, transport: Transport, *, slot: str, publication: str) -> Process:
        """The program alone, storing into a stream that has the slot's name."""
        return await asyncio.create_subprocess_exec(
            *(*self._program, "--log-level", "warning"),
            *("--dsn", transport.dsn, "--slot", slot, "--publication", publication),
            *("--nats-url", self._server.url, "--stream", slot),
            cwd=self._folder,
            env={**os.environ, **self._environment},
            stdout=DEVNULL,
        )

    async def _drain(self, task: Task, stream: Stream) -> Drain:
        log = ReplicationLog(task.transport.server.log_path)
        process = await self.start(task.transport, slot=task.slot, publication=task.publication)
        async with Ending(process):
            started_at, walsender_pid = await log.started(task.slot)
            client, walsender, server = Meter(process.pid), Meter(walsender_pid), Meter(self._server.pid)
            async with asyncio.timeout(_DEADLINE_S):
                streaming_at = await streaming(stream, process)
                set_up_cpu_s = client.read()
                await _unless_ended(process, self._wait(stream, task))
            cpu_s = client.read(), walsender.read(), server.read()
            peak = peak_rss_bytes(process.pid)
            stored_at = await stream.last_event_at()
            await stop(process)
        count = await self._count(stream)
        if count != task.events:
            raise WrongCount(f"the stream holds {count} events where {task.events} were written")
        await stream.delete()
        return Drain(stored_at - started_at, *cpu_s, peak, streaming_at - started_at, set_up_cpu_s)

    async def _wait(self, stream: Stream, task: Task) -> None:
        """Until all of the task is stored."""
        await stream.wait_for(task.events, period_s=2 * _POLL_S)

    async def _count(self, stream: Stream) -> int:
        """How many events are stored."""
        return await stream.event_count()


class DittoGroups(DittoJetStream):
    """The same, each transaction in one message (`events.group`), or in several that are full."""

    def __init__(self, nats_server: NatsServer, *, name: str = "ditto-groups", folder: Path = _TOP) -> None:
        super().__init__(nats_server, name=name, environment={"DITTO_EVENTS_GROUP_BY": "transaction"}, folder=folder)

    async def _wait(self, stream: Stream, task: Task) -> None:
        await stream.wait_for(task.transactions, period_s=2 * _POLL_S)
        while not await stream.has_ended(task.end_lsn):  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(2 * _POLL_S)

    async def _count(self, stream: Stream) -> int:
        return await stream.grouped_count()


class Stream:
    """A stream that Ditto writes, seen from outside."""

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self._client = client
        self.calls = 0
        """Requests that were made here."""

    async def event_count(self) -> int:
        """How many events it holds, without checkpoints and control messages; 0 while it does not exist."""
        answer = await self._call("INFO", {"subjects_filter": ">"})
        subjects = answer.get("state", {}).get("subjects") or {}
        return sum(count for subject, count in subjects.items() if _is_of_events(subject))

    async def stored_bytes(self) -> int:
        """All that it holds."""
        return int((await self._call("INFO", {}))["state"]["bytes"])

    async def has_ended(self, end_lsn: str) -> bool:
        """Whether the last group is the last one of a transaction that committed shortly before this LSN."""
        answer = await self._call("MSG.GET", {"last_by_subj": GROUPS})
        if "message" not in answer:
            return False
        headers = _headers(base64.b64decode(answer["message"]["hdrs"]))
        lsn = parse_lsn(headers["Ditto-Position"].partition(":")[0])
        return "Ditto-Group-Last" in headers and parse_lsn(end_lsn) - lsn < LAST_RECORDS_BYTES

    async def grouped_count(self) -> int:
        """How many events its groups have, as their headers say."""
        found = 0
        place = ConsumerConfig(headers_only=True)
        subscription = await self._client.jetstream().subscribe(
            GROUPS, stream=self.name, ordered_consumer=True, config=place
        )
        async with asyncio.timeout(_DEADLINE_S):
            async for message in subscription.messages:
                found += int((message.headers or {})["Ditto-Events"])
                if not message.metadata.num_pending:
                    break
        await subscription.unsubscribe()
        return found

    async def wait_for(self, count: int, *, period_s: float) -> None:
        """Wait until it holds at least so many events."""
        # To count by subject costs the server much where there are many: first all messages, checkpoints among them.
        while await self._message_count() < count or await self.event_count() < count:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(period_s)

    async def first_message_at(self, *, after: int = 0) -> float:
        """Wait for its first message after this sequence; when the server stored that, in seconds since 1970."""
        while True:
            # The first that is still there: the next checkpoint replaces the one before.
            answer = await self._call("MSG.GET", {"seq": after + 1, "next_by_subj": ">"})
            if "message" in answer:
                return _seconds(answer["message"]["time"])
            if answer["error"]["err_code"] not in {_NO_MESSAGE, _NO_STREAM}:
                raise RuntimeError(f"no first message: {answer['error']['description']}")
            await asyncio.sleep(_SET_UP_POLL_S)

    async def last_event_at(self) -> float:
        """When the server stored the last event, in seconds since 1970."""
        answer = await self._call("INFO", {"subjects_filter": ">"})
        latest = [
            (await self._call("MSG.GET", {"last_by_subj": subject}))["message"]
            for subject in answer["state"]["subjects"]
            if _is_of_events(subject)
        ]
        return max(_seconds(message["time"]) for message in latest)

    async def newest(self, subject: str) -> dict[str, Any] | None:
        """The newest message on this subject, as JSON; None where there is none."""
        answer = await self._call("MSG.GET", {"last_by_subj": subject})
        if "message" not in answer:
            return None
        found: dict[str, Any] = json.loads(base64.b64decode(answer["message"]["data"]))
        return found

    async def delete(self) -> None:
        """Remove it with its files, and the trace of its lease: with that, Ditto refuses a new stream of the name."""
        await self._call("DELETE", {})
        await self._client.request("$JS.API.STREAM.DELETE.KV_ditto_leases", b"", timeout=30)

    async def _message_count(self) -> int:
        count: int = (await self._call("INFO", {})).get("state", {}).get("messages", 0)
        return count

    async def _call(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        reply = await self._client.request(
            f"$JS.API.STREAM.{action}.{self.name}", json.dumps(body).encode(), timeout=30
        )
        answer: dict[str, Any] = json.loads(reply.data)
        return answer


def _headers(data: bytes) -> dict[str, str]:
    lines = data.decode().split("\r\n")[1:]
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}


def _is_of_events(subject: str) -> bool:
    return not subject.startswith("ditto._")


def _seconds(time: str) -> float:
    """RFC 3339 with nanoseconds, as nats-server writes it."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


class Ending:
    """Ends a process that an error has left running."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def streaming(stream: Stream, process: Process, *, after: int = 0) -> float:
    """Wait until the process has set everything up; when that was, in seconds since 1970. Raises as `stored` does.

    Ditto's first message on a new stream is a checkpoint, which it stores right before it begins to read. In a stream
    that has messages up to `after` it is the first event.
    """
    return await _unless_ended(process, stream.first_message_at(after=after))


async def stored(stream: Stream, count: int, process: Process, *, period_s: float) -> None:
    """Wait until the stream holds so many events. Raises RuntimeError when the process that stores them ends before."""
    await _unless_ended(process, stream.wait_for(count, period_s=period_s))


async def _unless_ended(process: Process, work: Coroutine[Any, Any, T]) -> T:
    working = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RuntimeError(f"ditto ended with exit code {process.returncode}")
        return await working
    finally:
        working.cancel()
        ending.cancel()


async def stop(process: Process) -> None:
    """The orderly end, which confirms what is stored."""
    process.terminate()
    async with asyncio.timeout(_STOP_DEADLINE_S):
        if await process.wait():
            raise RuntimeError(f"the end was not a clean one: exit code {process.returncode}")
