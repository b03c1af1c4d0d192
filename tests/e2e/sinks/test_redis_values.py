"""What the entries of Redis' streams hold: all types, rules, headers and keys, groups, snapshots; and on a cluster."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from ditto.formats.own_headers import ID

if TYPE_CHECKING:
    from e2e.sinks.redis_world import RedisWorld

FENCE = {"fence": ["insert"]}


async def test_subject_headers_and_key_come_from_the_row(redis_world: RedisWorld) -> None:
    world = redis_world
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, customer_id int, tenant text)")
    given = {
        "subject": "{prefix}.{schema}.{table}.{data.customer_id}",
        "headers": {"tenant": "{data.tenant}", "data": "{action}"},
        "key": ["id"],
        "when": "data.id < 100",
    }
    await world.streaming(events_tables={"orders": {"actions": ["insert", "update"], **given}} | FENCE)
    world.sql(
        "INSERT INTO orders VALUES (1, 7, 'acme'), (2, NULL, 'Zürich'), (100, 7, 'left out'), (3, 7, E'a\\r\\nb: c')"
    )
    found = [
        (each.subject.removeprefix(f"{world.name}.public."), each.headers, json.loads(each.payload)["data"]["id"])
        for each in await world.events()
    ]
    assert found == [
        ("orders.7", {"tenant": "acme", "%64ata": "insert", "Ditto-Key": "1"}, 1),
        ("orders.%null", {"tenant": "Z%C3%BCrich", "%64ata": "insert", "Ditto-Key": "2"}, 2),
        ("orders.7", {"tenant": "a%0D%0Ab: c", "%64ata": "insert", "Ditto-Key": "3"}, 3),
    ]
    shown = world.run("tail", "--no-follow", "--table", "orders")
    assert shown.stdout.count("INSERT") == 3, shown.stdout + shown.stderr


async def test_messages_outbox_and_traces(redis_world: RedisWorld) -> None:
    world = redis_world
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    world.sql("CREATE TABLE t (id int PRIMARY KEY, traceparent text)")
    await world.streaming(
        events_messages={"orders.*": "{prefix}.{message.prefix}"}, events_traceparent_column="traceparent"
    )
    body = json.dumps({"ditto": {"headers": {"tenant": "acme"}, "key": "k", "id": "mine"}, "payload": {"n": 3}})
    world.transaction(
        f"INSERT INTO t VALUES (1, '{trace}')", f"SELECT pg_logical_emit_message(true, 'orders.a', '{body}')"
    )
    (row, message) = await world.events()
    assert row.headers == {"traceparent": trace}
    assert (message.subject, json.loads(message.payload)) == (f"{world.name}.orders.a", {"n": 3})
    assert message.headers["tenant"] == "acme"
    assert (message.headers["Ditto-Key"], message.headers[ID]) == ("k", "mine")


async def test_groups(redis_world: RedisWorld) -> None:
    world = redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(events_group_by="transaction")
    world.sql("INSERT INTO t SELECT generate_series(1, 100)", "INSERT INTO t SELECT generate_series(101, 150)")
    while len(groups := await world.messages()) < 2:
        assert ditto.is_running
    assert [len(json.loads(each.payload)) for each in groups] == [100, 50]
    assert {each.subject for each in groups} == {f"{world.name}.transactions"}
    assert await ditto.stop() == 0
    ditto = await world.streaming(events_group_by="transaction")
    verified = world.run("verify", events_group_by="transaction")
    assert verified.returncode == 0, verified.stdout
    assert await ditto.stop() == 0


async def test_a_cluster(own_redis_world: RedisWorld) -> None:
    """Two nodes: events go to the node that has the keys, whichever is named; without a hash tag it is refused."""
    world = own_redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    world.server.stop()
    world.server.settings |= {"cluster-enabled": "yes", "appendonly": "no"}
    world.server.start()
    with world.client() as client:
        refused = world.ditto()
        failure = await _cluster_is_down(refused)
        assert "cluster" in failure
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + 20
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            assert time.monotonic() < deadline
    refused.kill()
    refused = world.ditto()
    assert await refused.ended() == 4
    assert "redis.key_prefix is ''" in refused.sentence()
    assert 'redis.key_prefix: "{shop}:"' in refused.sentence()
    ditto = await world.streaming(redis_key_prefix="{x}:")
    world.transaction("INSERT INTO t VALUES (1)", "INSERT INTO u VALUES (2)", "INSERT INTO fence DEFAULT VALUES")
    assert world.run("wait", world.value("SELECT pg_current_wal_lsn()::text"), redis_key_prefix="{x}:").returncode == 0
    verified = world.run("verify", redis_key_prefix="{x}:")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert (await world.checked(redis_key_prefix="{x}:"))["redis.cluster"].level == "ok"
    assert await ditto.stop() == 0
    assert (await world.checked())["redis.cluster"].level == "error"


async def _cluster_is_down(ditto: Any) -> str:
    failure = await ditto.logged("session.failed")
    return str(failure["error"])
