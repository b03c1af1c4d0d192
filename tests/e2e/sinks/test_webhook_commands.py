"""The other commands where events are posted, what is posted besides changes, and the receiver of the guide."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ditto.lsn import parse_lsn
from ditto.testing.process import ServerProcess, free_port
from ditto.testing.webhook_receiver import Answer
from e2e.process import eventually
from e2e.sinks.test_file_commands import checked
from e2e.sinks.webhook_world import SECRET

if TYPE_CHECKING:
    from ditto.testing.webhook_receiver import Receiver
    from e2e.sinks.webhook_world import WebhookWorld

TOP = Path(__file__).parents[3]


@pytest.mark.parametrize("command", ["tail", "verify"])
def test_nothing_can_be_read_again(webhook_world: WebhookWorld, command: str) -> None:
    done = webhook_world.run(command)
    assert done.returncode == 2
    sentence, hint = done.stderr.splitlines()
    assert "are posted to http://127.0.0.1:" in sentence
    assert "where nothing can be read again" in sentence
    assert "ditto wait" in hint
    assert "/events" not in done.stderr


def test_check_connects_and_asks_nothing(webhook_world: WebhookWorld, receiver: Receiver) -> None:
    world = webhook_world
    found = checked(world)
    assert {each: found[each]["level"] for each in found if each.startswith("webhook")} == {
        "webhook.connect": "ok",
        "webhook.url": "ok",
        "webhook.secret": "ok",
    }
    assert not [check for check in found if check.startswith(("nats", "stream"))]
    assert (receiver.connections, receiver.requests) == (1, [])
    del world.settings["DITTO_WEBHOOK_SECRET"]
    world.settings["DITTO_WEBHOOK_URL"] = "http://hooks.invalid/x"
    found = checked(world, code=1)
    assert found["webhook.connect"]["what"].startswith("cannot reach webhook http://hooks.invalid: ")
    assert "plain text" in found["webhook.url"]["what"]
    assert found["webhook.secret"]["what"] == "requests are not signed"
    assert [found[each]["level"] for each in ("webhook.connect", "webhook.url", "webhook.secret")] == [
        "error", "warning", "warning",
    ]  # fmt: skip


async def test_status_and_wait_ask_the_slot(webhook_world: WebhookWorld, receiver: Receiver) -> None:
    world = webhook_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    process = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    lsn = world.value("SELECT pg_current_wal_lsn()::text")
    done = await asyncio.to_thread(world.run, "wait", lsn)
    assert done.returncode == 0, done.stderr
    assert parse_lsn(done.stdout.strip()) >= parse_lsn(lsn)
    assert b'"data":{"id":1}' in world.lines()[-1]
    done = world.run("status", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    survey = json.loads(done.stdout)["survey"]
    assert survey["slot"]["name"] == world.name
    assert survey["notes"] == [f"the events are posted to http://127.0.0.1:{receiver.port}, which is not looked at"]
    receiver.usual = Answer(503)
    world.sql("INSERT INTO t VALUES (2)")
    lsn = world.value("SELECT pg_current_wal_lsn()::text")
    late = await asyncio.to_thread(world.run, "wait", lsn, "--timeout", "50ms")
    assert late.returncode == 1
    assert f"slot {world.name} has not reached {lsn}" in late.stderr
    process.kill()


def bodies(world: WebhookWorld, content_type: str) -> list[bytes]:
    return [each.body for each in world.taken() if each.headers["content-type"] == content_type]


async def test_formats(webhook_world: WebhookWorld) -> None:
    world = webhook_world
    for name in ("ce", "mp", "dbz", "own"):
        world.sql(f"CREATE TABLE {name} (id int PRIMARY KEY, at timestamptz DEFAULT now())")
    await world.streaming(
        events_tables={
            "ce": {"format": "cloudevents"},
            "mp": {"format": "msgpack"},
            "dbz": {"format": "debezium"},
            "own": {"actions": ["insert"], "headers": {"tenant": "t{data.id}"}, "key": ["id"]},
            "fence": {},
        },
    )
    for name in ("ce", "mp", "dbz", "own"):
        world.sql(f"INSERT INTO {name} SELECT generate_series(1, 3)")
    world.value("INSERT INTO fence DEFAULT VALUES RETURNING n")
    await eventually(lambda: any(b'"table":"fence"' in each.body for each in world.taken()), "all is there")
    cloud = [each for body in bodies(world, "application/cloudevents-batch+json") for each in json.loads(body)]
    assert [(each["specversion"], each["data"]["data"]["id"]) for each in cloud] == [("1.0", n) for n in (1, 2, 3)]
    packed = [each for body in bodies(world, "application/msgpack") for each in msgspec.msgpack.decode(body)]
    assert [(each["table"], each["data"]["id"]) for each in packed] == [("mp", n) for n in (1, 2, 3)]
    plain: list[dict[str, Any]] = [each for body in bodies(world, "application/json") for each in json.loads(body)]
    records = [each for each in plain if "position" in each]
    assert [each["payload"]["after"]["id"] for each in records[:3]] == [1, 2, 3]
    assert [(each["key"], each["headers"]["tenant"], each["payload"]["data"]["id"]) for each in records[3:]] == [
        (f"{n}", f"t{n}", n) for n in (1, 2, 3)
    ]
    identifiers = [each["id"] for each in [*cloud, *packed, *plain]]
    assert len(set(identifiers)) == len(identifiers) == 13


async def test_a_snapshot_is_posted_among_the_changes(webhook_world: WebhookWorld) -> None:
    world = webhook_world
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY, name text)", "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 3000) n"
    )
    await world.streaming(events_schemas="true", events_tables={"t": ["insert", "update"], "fence": ["insert"]})
    done = world.run("snapshot", "start", "--table", "public.t")
    assert done.returncode == 0, done.stderr
    assert "ditto tail" not in done.stderr, "there is nothing to read back"

    def states() -> list[str]:
        found = [json.loads(line) for line in world.lines() if b'"snapshot":{"state"' in line[:80]]
        return [each["snapshot"]["state"] for each in found]

    await eventually(lambda: states()[-1:] == ["finished"], "it is done", timeout_s=30)
    world.sql("UPDATE t SET name = 'y' WHERE id = 1")
    await world.fence()
    events = [json.loads(line) for line in world.lines()]
    assert (states()[:2], states()[-2:]) == (["requested", "begun"], ["done", "finished"])
    assert sorted(each["data"]["id"] for each in events if each.get("action") == "READ") == list(range(1, 3001))
    (description, *_) = [each for each in events if "version" in each and "id" not in each]
    assert (description["table"], "columns" in description) == ("t", True)


async def test_the_receiver_of_the_guide(webhook_world: WebhookWorld) -> None:
    world, port, file = webhook_world, free_port(), webhook_world.folder / "receiver.sqlite"
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")

    def start() -> ServerProcess:
        return ServerProcess(
            [sys.executable, "-W", "error", TOP / "examples" / "webhooks" / "receiver.py", str(port), str(file)],
            name="receiver",
            log_path=world.folder / "receiver.log",
            last_signal=signal.SIGKILL,
            env={**os.environ, "WEBHOOK_SECRET": SECRET},
        )

    def effects() -> list[int]:
        if not file.exists():
            return []
        with sqlite3.connect(file) as database:
            rows = database.execute("SELECT data FROM effects WHERE tab = 't' ORDER BY rowid").fetchall()
        database.close()
        return [json.loads(data)["id"] for (data,) in rows]

    receiver = start()
    try:
        settings = {"webhook_url": f"http://127.0.0.1:{port}/", "webhook_max_events": "50"}
        ditto = await world.streaming(**settings)
        world.sql("INSERT INTO t SELECT generate_series(1, 5000)")
        await eventually(lambda: len(effects()) > 100, "some are there")
        ditto.kill()
        assert len(effects()) < 5000, "the kill came too late to test anything"
        ditto = await world.streaming(**settings)
        receiver.end(signal.SIGKILL)
        receiver = start()
        await eventually(lambda: len(effects()) >= 5000, "all are there", timeout_s=60)
        assert await ditto.stop() == 0
        assert effects() == list(range(1, 5001)), "each takes effect once, in order"
        # Beside a connection on which nothing comes any more, as that of a machine that is gone.
        with socket.create_connection(("127.0.0.1", port)):
            stranger = await world.streaming(**settings, webhook_secret="whsec_" + "A" * 32)
            world.sql("INSERT INTO t VALUES (6000)")
            assert await stranger.ended() == 4
        assert "answered 401 Unauthorized" in stranger.sentence()
        assert 6000 not in effects()
    finally:
        receiver.end(signal.SIGKILL)
