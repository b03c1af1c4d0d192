"""`ditto run` with an exchange of RabbitMQ: what a queue gets, and what becomes of it when something goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aio_pika
import pytest

from e2e.values.test_round_trip import check

if TYPE_CHECKING:
    from e2e.certificates import Authority
    from e2e.sinks.rabbitmq_world import ExchangeWorld


@pytest.mark.long
async def test_every_type_comes_back(exchange_world: ExchangeWorld) -> None:
    await check(exchange_world, {}, impl="c", count=3)


async def test_the_queue_against_the_tables(exchange_world: ExchangeWorld) -> None:
    world = exchange_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text, doc json)", "INSERT INTO t VALUES (0, 'before', NULL)")
    ditto = await world.streaming(events_schemas=True, snapshot_mode="initial")
    await ditto.logged("snapshot.finished")
    world.sql(
        "INSERT INTO t SELECT n, 'row ' || n, json_build_object('n', n) FROM generate_series(1, 500) AS n",
        "UPDATE t SET name = E'two\\nlines' WHERE id % 2 = 0",
        "DELETE FROM t WHERE id % 5 = 0",
    )
    await world.fence()
    await world.matches_tables()
    assert await ditto.stop() == 0
    assert world.copies == 0
    ditto = await world.streaming(events_schemas=True)
    world.sql("INSERT INTO t VALUES (5000, 'after', NULL)")
    await world.fence()
    await world.matches_tables()
    shown = world.run("tail", "--no-follow")
    assert shown.returncode == 2
    assert "where nothing can be read again" in shown.stderr
    assert world.run("wait", world.value("SELECT pg_current_wal_lsn()::text")).returncode == 0
    told = world.run("status", "--json")
    assert "the events go to an exchange of RabbitMQ" in told.stdout
    assert await ditto.stop() == 0


async def test_what_is_too_long_for_amqp(exchange_world: ExchangeWorld) -> None:
    """A routing key, and the id of a message: both have 255 bytes at most."""
    world, long = exchange_world, "x" * 300
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY, name text)",
        "CREATE TABLE outbox (id text PRIMARY KEY, topic text, payload text)",
    )
    ditto = await world.streaming(
        events_tables={
            "t": {"actions": ["insert"], "subject": "t.{data.name}", "on_error": "keep"},
            "fence": ["insert"],
        },
        events_outbox_table="public.outbox",
        events_outbox_subject="o.{data.topic}",
        events_outbox_id="id",
        events_outbox_on_error="drop",
    )
    world.sql(f"INSERT INTO t VALUES (1, 'a'), (2, '{long}')")
    world.sql(f"INSERT INTO outbox VALUES ('{long}', 'a', 'sent'), ('1', '{long}', 'dropped')")
    *rows, sent = await world.events()
    assert [(each.subject, each.change[2]) for each in rows] == [("t.a", 1), ("t.%long", 2)]
    assert (sent.subject, sent.payload, sent.headers["Ditto-Id"]) == ("o.a", b"sent", long)
    assert await ditto.stop() == 0


async def test_what_is_refused(exchange_world: ExchangeWorld, rabbitmq_authority: Authority) -> None:
    """A message that no queue gets; logins, hosts and certificates that are wrong; a server that is not there."""
    world = exchange_world
    ditto = await world.streaming()
    await world.fence()
    connection = await aio_pika.connect(world.server.amqp_url)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete(world.name)
    world.sql("INSERT INTO fence DEFAULT VALUES")
    assert await ditto.ended() == 4
    assert f"no queue is bound for routing key {world.fence_subject}" in ditto.sentence()
    assert f"bind a queue to exchange {world.name}" in ditto.sentence()
    await world.bind()
    ditto = await world.streaming()
    await world.fence()
    assert await ditto.stop() == 0, "it was not lost"
    port, tls_port = world.server.amqp_port, world.server.amqps_port
    for settings, said in (
        ({"rabbitmq_user": "guest", "rabbitmq_password": "wrongone"}, "refuses user guest or the password"),
        ({"rabbitmq_url": f"amqp://127.0.0.1:{port}/absent"}, "the virtual host absent does not exist"),
        ({"rabbitmq_url": "amqp://guest:wrongone@rabbit.test"}, "has no TLS: Ditto does not show it the password"),
        ({"rabbitmq_url": f"amqps://127.0.0.1:{tls_port}"}, "certificate"),
        (
            {"rabbitmq_url": f"amqps://127.0.0.1:{tls_port}", "rabbitmq_tls_ca": str(rabbitmq_authority.file)},
            "certificate required",
        ),
        ({"rabbitmq_url": f"amqps://127.0.0.1:{port}"}, "does no TLS"),
        ({"rabbitmq_url": f"amqp://127.0.0.1:{tls_port}"}, "does TLS, and Ditto came without"),
        ({"rabbitmq_exchange_name": "amq.none"}, "exchange amq.none"),
    ):
        ditto = world.ditto(**settings)
        assert await ditto.ended() == 4, ditto.output
        assert said in ditto.sentence()
        assert "hint: " in ditto.sentence()
        assert "wrongone" not in ditto.output
    failure = await world.ditto(rabbitmq_url="amqp://127.0.0.1:1").logged("session.failed", kind="SinkLost")
    assert "Connection refused" in failure["error"]
    assert "amqp:// usually is port 5672, amqps:// port 5671" in failure["hint"]
    other = world.server.port
    failure = await world.ditto(rabbitmq_url=f"amqp://127.0.0.1:{other}").logged("session.failed", kind="SinkLost")
    assert failure["error"] == f"RabbitMQ at 127.0.0.1:{other}: the server has closed the connection", (
        "another protocol"
    )


async def test_tls_and_check(exchange_world: ExchangeWorld, rabbitmq_authority: Authority) -> None:
    world = exchange_world
    user = rabbitmq_authority.issue(user="ditto", for_server=False)
    found = await world.checked()
    assert {
        name: each.level for name, each in found.items() if name.startswith("rabbitmq") and each.level != "ok"
    } == {}
    assert found["rabbitmq.exchange"].what == f"exchange {world.name} exists"
    ditto = await world.streaming(
        rabbitmq_url=f"amqps://127.0.0.1:{world.server.amqps_port}",
        rabbitmq_tls_ca=str(rabbitmq_authority.file),
        rabbitmq_tls_cert=str(user.cert),
        rabbitmq_tls_key=str(user.key),
    )
    await world.fence()
    assert await ditto.stop() == 0
    found = await world.checked(rabbitmq_exchange_name="other", rabbitmq_exchange_create=False)
    assert found["rabbitmq.exchange"].level == "error"
    found = await world.checked(rabbitmq_exchange_name="other")
    assert found["rabbitmq.exchange"].what == "ditto run will create exchange other"
    found = await world.checked(rabbitmq_url="amqp://127.0.0.1:1")
    assert "Connection refused" in found["rabbitmq.connect"].what
