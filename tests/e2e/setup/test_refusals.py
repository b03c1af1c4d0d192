"""What cannot work is said in one sentence with a hint, without a traceback, and with an exit code of its own."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from ditto.testing.process import free_port
from ditto.testing.servers import NatsServer
from e2e.process import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World


async def refusal(world: World, code: int, **settings: object) -> str:
    ditto = world.ditto(**settings)
    assert await ditto.ended() == code
    sentence = ditto.sentence()
    assert len(sentence.splitlines()) == 2
    assert "hint: " in sentence
    assert "secret" not in ditto.output
    return sentence


async def test_postgresql_refuses_the_login(postgres_world: World) -> None:
    world = postgres_world
    world.sql("CREATE ROLE app LOGIN PASSWORD 'right'")
    path = world.value("SHOW hba_file")
    with open(path) as file:  # noqa: ASYNC230, PTH123
        before = file.read()
    with open(path, "w") as file:  # noqa: ASYNC230, PTH123
        file.write(f"host all app 127.0.0.1/32 scram-sha-256\nhost {world.name} barred all reject\n{before}")
    world.sql("SELECT pg_reload_conf()", "CREATE ROLE barred LOGIN REPLICATION")
    port = world.postgres.port

    def dsn(credentials: str, database: str = world.name) -> str:
        return f"postgres://{credentials}@127.0.0.1:{port}/{database}"

    wrong = await refusal(world, 3, postgres_dsn=dsn("app:secret"))
    assert "password authentication failed" in wrong
    assert f"127.0.0.1:{port}" in wrong
    assert "no password supplied" in await refusal(world, 3, postgres_dsn=dsn("app"))
    assert "REPLICATION" in await refusal(world, 3, postgres_dsn=dsn("app:right"))
    assert '"nowhere" does not exist' in await refusal(world, 3, postgres_dsn=dsn("postgres", "nowhere"))
    assert "nobody_here" in await refusal(world, 3, postgres_dsn=dsn("nobody_here"))
    assert "pg_hba" in await refusal(world, 3, postgres_dsn=dsn("barred"))


async def test_a_role_that_may_not_create_the_publication(world: World) -> None:
    role = f"{world.name}_app"
    world.sql(
        f"CREATE ROLE {role} LOGIN REPLICATION",
        f"GRANT CREATE ON DATABASE {world.name} TO {role}",
        "CREATE TABLE t (id int PRIMARY KEY)",
    )
    dsn = world.dsn.replace("postgres@", f"{role}@")
    assert "FOR ALL TABLES" in await refusal(world, 3, postgres_dsn=dsn)
    sentence = await refusal(world, 3, postgres_dsn=dsn, events_tables={"t": ["insert"]})
    assert 'FOR TABLE "public"."t"' in sentence
    # With what others created, REPLICATION is enough: no SELECT is needed.
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    await world.streaming(postgres_dsn=dsn)
    world.sql("INSERT INTO t VALUES (1)")
    assert len(await world.events()) == 1


async def test_postgresql_settings_that_rule_it_out(postgres_world: World) -> None:
    world = postgres_world
    world.postgres.settings["max_replication_slots"] = "1"
    world.postgres.restart()
    world.sql("SELECT pg_create_physical_replication_slot('other')")
    sentence = await refusal(world, 3)
    assert "slots are in use" in sentence
    assert "max_replication_slots" in sentence
    world.sql("SELECT pg_drop_replication_slot('other')")
    world.postgres.settings["wal_level"] = "replica"
    world.postgres.restart()
    assert "wal_level is replica" in await refusal(world, 3)


async def test_nats_refuses(world: World, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "plain", jetstream=False) as server:
        assert "JetStream" in await refusal(world, 4, nats_url=server.url)
    with NatsServer(tmp_path / "closed", config='authorization { user: u, password: "right" }') as server:
        sentence = await refusal(world, 4, nats_url=server.url, nats_user="u", nats_password="secret")
        assert "refuses user u: " in sentence
        assert "Authorization Violation".lower() in sentence.lower()
        assert "refuses user u: " in await refusal(world, 4, nats_url=server.url.replace("//", "//u:secret@"))
        await world.streaming(nats_url=server.url, nats_user="u", nats_password="right")


async def test_a_user_who_may_not_publish_the_events(world: World, tmp_path: Path) -> None:
    """The server answers such a message with an error on the connection, and does not store it."""
    permissions = {"publish": ["$JS.API.>", "_INBOX.>"], "subscribe": ">"}
    config = f'authorization {{ users: [{{ user: u, password: "p", permissions: {json.dumps(permissions)} }}] }}'
    with NatsServer(tmp_path / "limited", config=config) as server:
        sentence = await refusal(world, 4, nats_url=server.url, nats_user="u", nats_password="p")
        assert f"{world.name}._checkpoint" in sentence


async def test_a_user_who_may_not_ask_for_streams(world: World, tmp_path: Path) -> None:
    """Refused at once while starting, not taken for a JetStream that does not answer."""
    permissions = {"publish": {"deny": "$JS.API.STREAM.>"}}
    config = f'authorization {{ users: [{{ user: u, password: "p", permissions: {json.dumps(permissions)} }}] }}'
    with NatsServer(tmp_path / "limited", config=config) as server:
        sentence = await refusal(world, 4, nats_url=server.url, nats_user="u", nats_password="p")
        assert "user u may not publish to $JS.API.STREAM." in sentence


async def test_a_stream_of_another_slot(world: World) -> None:
    first = await world.streaming()
    sentence = await refusal(world, 4, postgres_slot=f"{world.name}_2")
    assert f"belongs to slot {world.name} " in sentence
    assert world.sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{world.name}_2'") == []
    assert first.is_running


async def test_subjects_that_another_stream_takes(world: World) -> None:
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=f"{world.stream}_OTHER", subjects=[world.fence_subject])
    assert "another stream takes some of its subjects" in await refusal(world, 4)


@pytest.mark.parametrize("which", ["postgres", pytest.param("nats", marks=pytest.mark.long)])
async def test_an_unreachable_server_is_tried_again_until_it_is_there(world: World, tmp_path: Path, which: str) -> None:
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    settings = {"postgres_dsn": world.dsn_by(port)} if which == "postgres" else {"nats_url": url}
    ditto = world.ditto(**settings)
    failure = await ditto.logged("session.failed", count=3)
    assert f"127.0.0.1:{port}" in failure["error"]
    assert failure["hint"]
    if which == "nats":
        with NatsServer(tmp_path / "late", port=port):
            await ditto.streaming()
            assert await ditto.stop() == 0
    else:
        ditto.send(signal.SIGINT)
        assert await ditto.ended(timeout_s=3) == 0
    assert "Traceback" not in ditto.output


async def test_a_full_stream_holds_the_slot_until_there_is_room(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    subjects = [f"{world.name}._checkpoint", f"{world.name}_public_t", world.fence_subject]
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=subjects, max_msgs=500, discard="new")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 400)", "INSERT INTO t SELECT generate_series(401, 2000)")
    failure = await ditto.logged("session.failed", count=2)
    assert failure["kind"] == "NotNow"
    assert "full" in failure["error"]
    assert await world.message_count() == 500
    tail = (await world.messages())[-1].position
    assert world.confirmed_lsn <= tail.commit_lsn
    async with world.jetstream() as jetstream:
        config = (await jetstream.stream_info(world.stream)).config
        config.max_msgs = 100_000
        await jetstream.update_stream(config)
    assert [event.change[2] for event in await world.events()] == list(range(1, 2001))
    await eventually(lambda: world.confirmed_lsn > tail.commit_lsn, "the slot moves on")
