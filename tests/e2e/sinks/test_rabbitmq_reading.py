"""`ditto tail`, `ditto verify`, `ditto wait`, `ditto status` and `ditto check` on a stream of RabbitMQ."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from sinks.rabbitmq_reading import create_stream, read_stream

from ditto.lsn import Position, parse_lsn
from ditto.sinks.base import Start
from ditto.testing.process import ServerProcess
from e2e.formats.test_commands import run
from e2e.process import eventually
from e2e.proxy import Proxy

if TYPE_CHECKING:
    from e2e.sinks.rabbitmq_world import RabbitMQWorld

POINTS = {
    *(f"rabbitmq.{each}" for each in ("connect", "credentials", "version", "frame_max", "streams", "permissions")),
    "rabbitmq.copies",
    "stream.tail",
}


async def test_where_tail_begins_and_what_status_and_wait_say(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    shown = run(world, "tail", "--no-follow")
    assert shown.returncode == 4
    assert f"there is no stream {world.name}" in shown.stderr
    absent = json.loads(run(world, "status", "--json").stdout)["survey"]
    assert any("does not exist" in note for note in absent["notes"])
    nothing = run(world, "wait", "0/1", "--timeout", "0s")
    assert nothing.returncode == 1
    assert f"stream {world.name} has not reached 0/1" in nothing.stderr
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (0)")
    ditto = await world.streaming()
    for number in range(1, 11):
        world.sql(f"INSERT INTO t VALUES ({number})")
    await world.fence()
    middle = datetime.now(UTC)
    await asyncio.sleep(0.01)  # chunks are stored in another millisecond
    for number in range(11, 21):
        world.sql(f"INSERT INTO t VALUES ({number})")
    await world.fence()

    async def ids(start: Start) -> list[int]:
        events = [json.loads(message.payload) for message in await world.read_from(start)]
        return [event["data"]["id"] for event in events if event["table"] == "t"]

    assert await ids(Start(since=datetime.now(UTC) - timedelta(hours=1))) == list(range(1, 21))
    assert await ids(Start(since=datetime.now(UTC) + timedelta(hours=1))) == []
    assert await ids(Start(since=middle)) == list(range(11, 21))
    assert await ids(Start(last=4)) == [18, 19, 20]
    assert await ids(Start(last=1000)) == await ids(Start()) == list(range(1, 21))
    assert len(run(world, "tail", "--no-follow", "--json", "--last", "4").stdout.splitlines()) == 4
    lsn = world.value("SELECT pg_current_wal_lsn()::text")
    done = await asyncio.to_thread(run, world, "wait", lsn)
    differing = await asyncio.to_thread(run, world, "verify")
    assert "1 difference" in differing.stdout
    assert "meanwhile" not in differing.stdout, "the place is after the last event, and nobody has written since"
    assert done.returncode == 0, done.stderr
    assert parse_lsn(done.stdout.strip()) >= parse_lsn(lsn)
    told = json.loads(run(world, "status", "--json").stdout)
    sink = told["survey"]["sink"]
    assert (sink["kind"], sink["name"]) == ("stream", f"stream {world.name}")
    assert Position.parse(sink["tail"]) > Position(0, 0)
    assert told["lag_s"] is not None
    assert await ditto.stop() == 0


async def test_tail_follows_over_a_lost_connection(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    await world.streaming()
    await world.fence()
    async with Proxy(world.server.port) as proxy:
        command = ServerProcess(
            [sys.executable, "-m", "ditto", "tail", "--json", "--table", "t"],
            name="ditto tail",
            log_path=world.folder / "tail.log",
            last_signal=signal.SIGKILL,
            env=world.given({"rabbitmq_url": f"rabbitmq-stream://127.0.0.1:{proxy.port}"}),
        )

        def shows(number: int) -> bool:
            return f'"id":{number}' in command.output()

        try:
            while not command.output():  # rows until it has begun
                world.sql("INSERT INTO t SELECT coalesce(min(id), 0) - 1 FROM t")
                await asyncio.sleep(0.1)
            for number in range(1, 4):
                world.sql(f"INSERT INTO t VALUES ({number})")
                await eventually(partial(shows, number), "tail shows the row")
                proxy.cut()
            lines = [line for line in command.output().splitlines() if line.startswith("{")]
            ids = [json.loads(line)["data"]["id"] for line in lines]
            assert [each for each in ids if each > 0] == [1, 2, 3]
        finally:
            command.end(signal.SIGTERM)


async def test_check_finds_nothing_where_all_is_well_and_changes_nothing(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    found = await world.checked()
    assert "both new" in found["stream.tail"].what
    assert found["rabbitmq.streams"].what == f"ditto run will create {world.name}, {world.name}.ditto"
    assert await read_stream(world.server.port, world.name) == []
    ditto = await world.streaming()
    await world.fence()
    found = await world.checked(delivery_confirm_delay="60s")
    levels = {name: each.level for name, each in found.items() if name.startswith("rabbitmq") and each.level != "ok"}
    assert levels == {}
    assert await ditto.stop() == 0
    before = await read_stream(world.server.port, world.name)
    found = await world.checked()
    assert set(found) >= POINTS, POINTS - set(found)
    assert found["rabbitmq.copies"].level == "warning"
    assert found["rabbitmq.copies"].fix == "delivery: {confirm_delay: 60s}"
    assert found["stream.tail"].what.startswith("the slot is not after the stream's tail (")
    assert not [check for check in found if check.startswith("nats")]
    assert await read_stream(world.server.port, world.name) == before
    await world.streaming()
    await world.fence()
    found = await world.checked(rabbitmq_stream_create=False, rabbitmq_stream_name="elsewhere")
    assert found["rabbitmq.streams"].level == "error"
    found = await world.checked(rabbitmq_url="rabbitmq-stream://guest:hushhush@127.0.0.1:1")
    assert "Connection refused" in found["rabbitmq.connect"].what


async def test_an_older_queue_of_that_name(rabbitmq_world: RabbitMQWorld) -> None:
    """A stream that is there already is taken, with what others have put there; a queue of another type is refused."""
    world = rabbitmq_world
    await create_stream(world.server.port, world.name, **{"max-length-bytes": "1000000000"})
    ditto = await world.streaming()
    await world.fence()
    assert len(await world.messages()) == 1
    assert await ditto.stop() == 0
