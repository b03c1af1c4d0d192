"""`ditto tail`, `ditto verify`, `ditto wait` and `ditto status` on streams of Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ditto.lsn import Position, parse_lsn
from ditto.sinks.base import Start
from ditto.testing.process import ServerProcess
from e2e.formats.test_commands import run
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.sinks.redis_world import RedisWorld


async def test_a_lost_entry_is_a_difference_and_where_tail_begins(redis_world: RedisWorld) -> None:
    world = redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    ditto = await world.streaming()
    for number in range(1, 21):
        world.sql(f"INSERT INTO {'tu'[number % 2]} VALUES ({number})")
    await world.fence()

    async def ids(start: Start) -> list[int]:
        events = [json.loads(message.payload) for message in await world.read_from(start)]
        return [event["data"]["id"] for event in events if event["table"] in {"t", "u"}]

    assert await ids(Start(since=datetime.now(UTC) - timedelta(hours=1))) == list(range(1, 21))
    assert await ids(Start(since=datetime.now(UTC) + timedelta(hours=1))) == []
    assert await ids(Start(last=4)) == [18, 19, 20]
    assert await ids(Start(last=1000)) == await ids(Start()) == list(range(1, 21))
    tenth = next(event for event in await world.events() if event.change[2] == 10).event
    assert await ids(Start(since=datetime.fromisoformat(tenth["commitTime"]))) == list(range(10, 21))
    assert len(run(world, "tail", "--no-follow", "--json", "--last", "4").stdout.splitlines()) == 4
    assert await ditto.stop() == 0
    with world.client() as client:
        (found,) = client.xrange(f"{world.name}_public_u", count=1)
        client.xdel(f"{world.name}_public_u", found[0])
    assert run(world, "verify", "--timeout", "100ms").returncode == 1


async def test_tail_follows_new_streams_and_over_a_restart_of_the_server(own_redis_world: RedisWorld) -> None:
    world = own_redis_world
    ditto = await world.streaming()
    command = ServerProcess(
        [sys.executable, "-m", "ditto", "tail", "--json", "--table", "t*"],
        name="ditto tail",
        log_path=world.folder / "tail.log",
        last_signal=signal.SIGKILL,
        env={**os.environ, **world.settings},
    )

    def shows(number: int) -> bool:
        return f'"id":{number}' in command.output()

    try:
        world.sql("CREATE TABLE t0 (id int PRIMARY KEY)")
        while not command.output():  # rows until it has begun
            world.sql("INSERT INTO t0 SELECT coalesce(min(id), 0) - 1 FROM t0")
            await asyncio.sleep(0.1)
        for number in range(1, 5):
            world.sql(f"CREATE TABLE t{number} (id int PRIMARY KEY)", f"INSERT INTO t{number} VALUES ({number})")
            await eventually(partial(shows, number), "tail shows the row")
            if number == 2:
                world.server.kill()
                await asyncio.to_thread(world.server.start)
                await ditto.streaming(count=2, timeout_s=30)
        lines = [line for line in command.output().splitlines() if line.startswith("{")]
        ids = [json.loads(line)["data"]["id"] for line in lines]
        assert [each for each in ids if each > 0] == [1, 2, 3, 4]
        assert ids[0] < 0
    finally:
        command.end(signal.SIGTERM)


async def test_status_tells_of_slot_and_streams(redis_world: RedisWorld) -> None:
    world = redis_world
    absent = json.loads(run(world, "status", "--json").stdout)["survey"]
    assert any("does not exist" in note for note in absent["notes"])
    process = await world.streaming()
    await world.fence()
    done = run(world, "status", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["survey"]["stream"], told["survey"]["problems"], told["survey"]["notes"]) == (None, [], [])
    sink = told["survey"]["sink"]
    assert (sink["kind"], sink["name"], sink["messages"]) == ("keyspace", f"keyspace ditto:{world.name}", 1)
    assert Position.parse(sink["tail"]) > Position(0, 0)
    assert told["lag_s"] is not None
    assert "keyspace" in run(world, "status").stdout
    assert await process.stop() == 0


async def test_wait_returns_once_the_transaction_is_there(redis_world: RedisWorld) -> None:
    world = redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    nothing = run(world, "wait", "0/1", "--timeout", "0s")
    assert nothing.returncode == 1
    assert f"keyspace ditto:{world.name} has not reached 0/1" in nothing.stderr
    process = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    lsn = world.value("SELECT pg_current_wal_lsn()::text")
    done = await asyncio.to_thread(run, world, "wait", lsn)
    assert done.returncode == 0, done.stderr
    assert parse_lsn(done.stdout.strip()) >= parse_lsn(lsn)
    assert [message.change for message in await world.messages()] == [("t", "INSERT", 1)]
    assert await process.stop() == 0


def test_tail_and_verify_without_streams(redis_world: RedisWorld) -> None:
    done = run(redis_world, "tail", "--no-follow")
    assert done.returncode == 4
    assert f"there is no key ditto:{redis_world.name}:checkpoint" in done.stderr
    assert "has ditto run yet?" in done.stderr
