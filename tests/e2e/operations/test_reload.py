"""Reload: another `events` section between two transactions, or a reason why not, and then nothing has changed."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pty
import signal
import socket
import sys
import tempfile
import threading
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml

import ditto
from ditto.testing.process import free_port
from e2e.process import eventually
from e2e.snapshots.finished import snapshot_finished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.process import DittoProcess
    from e2e.world import World

ROWS = (1, 40, 900)
"""Of the transactions of a writer."""


class Configured:
    """A configuration file, and a Ditto that reads it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.file = world.folder / "ditto.yaml"
        self.port = free_port()

    def write(self, events: dict[str, Any] | None = None, **others: Any) -> None:
        """In texts `NAME` stands for the world's name: the NATS server is others', too."""
        document = {"http": {"listen": f"127.0.0.1:{self.port}"}, "events": events or {}, **others}
        self.file.write_text(yaml.safe_dump(document).replace("NAME", self.world.name))

    async def begin(self, events: dict[str, Any] | None = None) -> DittoProcess:
        self.write(events)
        self.process = await self.world.streaming(config=str(self.file))
        return self.process

    async def reload(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Exit code and standard error of `ditto reload`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG"))}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ditto", "reload", *arguments),
            env={
                **inherited,
                "PYTHONPATH": str(Path(ditto.__file__).parent.parent),
                **self.world.settings,
                "DITTO_CONFIG": str(self.file),
                **settings,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert out == b""
        return process.returncode or 0, err.decode()

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/status", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)["process"]["configuration"]
        return found

    async def subjects(self) -> list[str]:
        """Of all events, in their order, without the world's name."""
        return [event.subject.removeprefix(f"{self.world.name}") for event in await self.world.events()]


@pytest.fixture
def configured(world: World) -> Configured:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)", "CREATE TABLE audit (id int PRIMARY KEY)")
    return Configured(world)


async def test_another_events_section_is_used_from_the_next_transaction_on(configured: Configured) -> None:
    world = configured.world
    process = await configured.begin({"topics": {"trades": "NAME.before"}})
    world.sql("INSERT INTO trades VALUES (1)")
    configured.write({"topics": {"trades": "NAME.after"}, "metadata": ["ordinal"]})
    code, err = await configured.reload()
    assert (code, err) == (0, "Revision 2 is used now: events.topics, events.metadata.\n")
    world.sql("INSERT INTO trades VALUES (2)")
    events = await world.events()
    assert [(each.subject, "meta" in each.event) for each in events] == [
        (f"{world.name}.before", False),
        (f"{world.name}.after", True),
    ]
    found = configured.status()
    assert (found["revision"], found["is_pending"], found["refused_at"]) == (2, False, None)
    await process.logged("reload.applied", revision=2)
    code, err = await configured.reload()
    assert (code, err) == (0, "Nothing has changed: revision 2 stays.\n")
    assert await process.stop() == 0
    assert len(process.logs("pipeline.streaming")) == 2


@pytest.mark.parametrize(
    ("events", "others", "code", "says"),
    [
        ({}, {"snapshot": {"chunk_rows": 7}}, 2, "snapshot.chunk_rows cannot change while Ditto runs"),
        (
            {"topics": {"trades": "NAME.x"}},
            {"log": {"level": "debug"}, "name": "other"},
            2,
            "name cannot change while Ditto runs: nothing of the new configuration is used",
        ),
        ({"tables": {"unpublished": ["insert"]}}, {}, 3, "events.tables names public.unpublished"),
        (
            {"tables": {"trades": {"columns": {"exclude": ["nothing"]}}}},
            {},
            2,
            "events.tables.trades.columns.exclude names the column nothing",
        ),
        ({"topics": {"trades": "NAME._checkpoint"}}, {}, 4, "Ditto's checkpoints"),
        ({"topics": {"trades": "NAME_taken.x"}}, {}, 4, "_taken.x"),
    ],
)
async def test_what_does_not_do_changes_nothing_and_says_why(
    configured: Configured, events: dict[str, Any], others: dict[str, Any], code: int, says: str
) -> None:
    world = configured.world
    world.sql("CREATE TABLE unpublished (id int PRIMARY KEY)")
    world.sql(f"CREATE PUBLICATION {world.name} FOR TABLE fence, trades, audit")
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=f"{world.stream}_OTHER", subjects=[f"{world.name}_taken.>"])
        try:
            process = await configured.begin()
            before = configured.status()
            configured.write(events, **others)
            found, err = await configured.reload()
            assert (found, says in err) == (code, True), err
            assert "hint: " in err
            status = configured.status()
            assert (status["revision"], status["loaded_at"]) == (1, before["loaded_at"])
            assert says in status["refusal"]
            refused = await process.logged("reload.refused")
            assert says in refused["reason"]
            assert refused["level"] == "error"
            world.sql("INSERT INTO trades VALUES (1)")
            assert await configured.subjects() == ["_public_trades"]
            assert len(process.logs("pipeline.streaming")) == 1, "the session has not ended"
            configured.write({"topics": {"trades": "NAME.right"}})
            assert (await configured.reload())[0] == 0
            assert configured.status()["refusal"] is None
        finally:
            await jetstream.delete_stream(f"{world.stream}_OTHER")


async def test_a_file_that_cannot_be_read_is_refused_by_the_command_and_on_sighup(configured: Configured) -> None:
    process = await configured.begin()
    configured.file.write_text(configured.file.read_text() + "event: {}\n")
    code, err = await configured.reload()
    assert (code, "did you mean events" in err) == (2, True), err
    assert not process.logs("reload.refused"), "it was not asked"
    process.send(signal.SIGHUP)
    refused = await process.logged("reload.refused")
    assert "did you mean events" in f"{refused['reason']} {refused['hint']}"
    configured.world.sql("INSERT INTO trades VALUES (1)")
    assert len(await configured.subjects()) == 1
    assert process.is_running


async def test_the_level_of_the_log_alone_ends_no_session(configured: Configured) -> None:
    process = await configured.begin()
    configured.write({}, log={"level": "error"})
    process.send(signal.SIGHUP)
    await eventually(lambda: configured.status()["revision"] == 2, "it is taken")
    configured.write({}, log={"level": "info"})
    process.send(signal.SIGHUP)
    await process.logged("reload.accepted", changed=["log.level"])
    assert configured.status()["revision"] == 3
    assert len(process.logs("reload.begun")) == 1, "at level error this is not said"
    assert len(process.logs("pipeline.streaming")) == 1


async def test_without_http_the_process_is_signalled(configured: Configured) -> None:
    configured.file.write_text("events: {}")
    process = await configured.world.streaming(config=str(configured.file))
    code, err = await configured.reload()
    assert (code, "--pid" in err) == (2, True)
    configured.file.write_text("events: {topics: {trades: " + configured.world.name + ".other}}")
    code, err = await configured.reload("--pid", str(process.pid))
    assert code == 0, err
    await process.logged("reload.applied")
    await process.streaming(count=2)
    configured.world.sql("INSERT INTO trades VALUES (1)")
    assert await configured.subjects() == [".other"]


async def test_a_standby_takes_it_at_once_and_goes_on_with_it_as_the_leader(configured: Configured) -> None:
    world = configured.world
    leader = await world.streaming()
    configured.write({})
    standby = world.ditto(config=str(configured.file))
    await standby.logged("slot.standby")
    configured.write({"topics": {"trades": "NAME.second"}})
    assert (await configured.reload())[0] == 0
    await standby.logged("slot.standby", count=2)
    world.sql("INSERT INTO trades VALUES (1)")
    await world.fence()
    assert await leader.stop() == 0
    await standby.streaming()
    world.sql("INSERT INTO trades VALUES (2)")
    assert await configured.subjects() == ["_public_trades", ".second"]


class Writers:
    """Write transactions of several sizes into `trades`, all of them with one column that numbers them."""

    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self._stop = threading.Event()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._write, args=[number]) for number in range(count)]

    def _write(self, number: int) -> None:
        with psycopg.connect(self._world.dsn, autocommit=True) as connection:
            for turn in itertools.count(number):
                if self._stop.wait(0.03):
                    return
                with self._lock:
                    transaction = next(self._numbers)
                connection.execute(
                    "INSERT INTO orders SELECT %s, i FROM generate_series(1, %s) AS i",
                    [transaction, ROWS[turn % len(ROWS)]],
                )

    def __enter__(self) -> None:
        for each in self._threads:
            each.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()


async def test_under_load_no_transaction_follows_two_configurations_and_nothing_is_lost_or_twice(
    configured: Configured,
) -> None:
    world = configured.world
    world.sql("CREATE TABLE orders (transaction int, n int, PRIMARY KEY (transaction, n))")
    process = await configured.begin({"topics": {"orders": "NAME.orders_0"}})
    reloads = 12
    with Writers(world, 3):
        for number in range(1, reloads + 1):
            configured.write({"topics": {"orders": f"NAME.orders_{number}"}})
            process.send(signal.SIGHUP)
            await process.logged("reload.applied", revision=number + 1, timeout_s=30)
            await process.streaming(count=number + 1)
            count = await world.message_count()
            await world.holds(count + 300)
    events = await world.events(timeout_s=60)
    assert [each.position for each in events] == sorted({each.position for each in events})
    by_transaction = defaultdict(set)
    rows = []
    for each in events:
        by_transaction[each.position.commit_lsn].add(each.subject)
        rows.append((each.event["data"]["transaction"], each.event["data"]["n"]))
    mixed = {lsn: subjects for lsn, subjects in by_transaction.items() if len(subjects) > 1}
    assert not mixed
    assert sorted(rows) == world.sql("SELECT transaction, n FROM orders ORDER BY 1, 2")
    order = list(dict.fromkeys(each.subject for each in events))
    assert order == [f"{world.name}.orders_{number}" for number in range(reloads + 1)]
    assert not process.logs("session.failed")
    assert await process.stop() == 0


async def test_a_snapshot_goes_on_over_a_reload(configured: Configured) -> None:
    world = configured.world
    world.sql("INSERT INTO trades SELECT generate_series(1, 2000)")
    await configured.begin()

    def ask(**body: Any) -> None:
        world.sql(f"SELECT pg_logical_emit_message(true, 'ditto.snapshot', '{json.dumps(body)}')")

    ask(start=["public.trades"], run="r", max_rows_per_s=500)
    await configured.process.logged("snapshot.begun")
    await world.holds(300)
    ask(pause="r")  # or a busy machine is done before it reloads
    await configured.process.logged("snapshot.request", state="paused")
    configured.write({"topics": {"trades": "NAME.after"}})
    assert (await configured.reload())[0] == 0
    ask(resume="r")
    await snapshot_finished(world)
    reads = [each for each in await world.messages() if each.payload.find(b'"READ"') > 0]
    assert sorted(each.event["data"]["id"] for each in reads) == list(range(1, 2001))
    assert {each.subject for each in reads} == {f"{world.name}_public_trades", f"{world.name}.after"}


@pytest.fixture
def notified(world: World) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        name = str(Path(folder, "notify"))
        channel.bind(name)
        channel.setblocking(False)
        world.settings["NOTIFY_SOCKET"] = name
        yield channel


async def test_systemd_is_told_that_it_reloads_and_is_ready_again(
    configured: Configured, notified: socket.socket
) -> None:
    process = await configured.begin()
    heard: list[str] = []

    def hears(*lines: str) -> bool:
        try:
            while True:
                heard.append(notified.recv(4096).decode())
        except BlockingIOError:
            return [each for each in heard if each.startswith(("RELOADING=1\nMONOTONIC_USEC=", "READY=1"))] != []

    await eventually(hears, "it is ready")
    heard.clear()
    configured.write({"topics": {"trades": "NAME.after"}})
    process.send(signal.SIGHUP)
    await process.logged("reload.applied")

    def is_over() -> bool:
        hears()
        begun = [number for number, each in enumerate(heard) if each.startswith("RELOADING=1\nMONOTONIC_USEC=")]
        return bool(begun) and any(each.startswith("READY=1") for each in heard[begun[0] :])

    await eventually(is_over, "it is ready again")


async def test_it_stops_when_its_terminal_closes_and_reloads_when_it_is_told_so_there(configured: Configured) -> None:
    """In a session of its own whose controlling terminal is a pseudo terminal: its other end closes like a window."""
    configured.write({})
    environment = {**os.environ, **configured.world.settings, "DITTO_CONFIG": str(configured.file)}
    environment |= {"PYTHONPATH": str(Path(ditto.__file__).parent.parent), "DITTO_LOG_FORMAT": "json"}
    log = configured.world.folder / "terminal.log"
    pid, terminal = pty.fork()
    if pid == 0:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 2)
        os.execve(sys.executable, [sys.executable, "-m", "ditto", "run"], environment)
    try:
        await eventually(lambda: log.exists() and "pipeline.streaming" in log.read_text(), "it streams")
        os.kill(pid, signal.SIGHUP)
        await eventually(lambda: "reload.unchanged" in log.read_text(), "it reloads")
    finally:
        os.close(terminal)
    _, code = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(code) == 0, log.read_text()
    assert '"signal": "SIGHUP"' in log.read_text()
