"""As test_hints.py: hints about streams, slots and changes that Ditto cannot use, in a stream with a hostile name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ditto.errors import DecodingFailed
from ditto.lsn import Position, format_lsn
from ditto.source.command_errors import Answer, command_error
from e2e.cluster import SIZE, Cluster
from e2e.operator import SETTINGS, Application, Operator, ends_well, has_run, open_operator, refusal
from e2e.setup.test_check import check
from e2e.setup.test_check_statements import STREAM
from e2e.shell import TOOLS, open_shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.conftest import OpenWorld
    from e2e.world import World


@pytest.fixture
def hostile(world: World) -> World:
    world.stream = STREAM + world.name
    world.settings["DITTO_NATS_STREAM"] = world.stream
    return world


@pytest.fixture
def operator(hostile: World) -> Iterator[Operator]:
    with open_operator(hostile) as operator:
        yield operator


async def ask(world: World, verb: str, stream: str, **settings: Any) -> None:
    async with world.jetstream() as jetstream:
        body = json.dumps({"name": stream, **settings}).encode()
        answer = json.loads((await jetstream._nc.request(f"$JS.API.STREAM.{verb}.{stream}", body)).data)
        assert "error" not in answer, answer


# ------------------------------------------------------------------------------------ a stream that cannot be used


async def test_the_stream_was_sealed(operator: Operator) -> None:
    world = operator.world
    ditto = await has_run(operator)
    await ditto.stop()
    async with world.jetstream() as jetstream:
        config = (await jetstream.stream_info(world.stream)).config
        await jetstream.update_stream(config, sealed=True)
    operator.application.goes_on()
    hint = await refusal(world)
    await ends_well(operator, hint, "own", "continue", "reload")


@pytest.mark.parametrize("fault", ["mirror", "no_ack"])
async def test_the_stream_is_of_another_kind(operator: Operator, fault: str) -> None:
    world = operator.world
    if fault == "mirror":
        await ask(world, "CREATE", f"{world.name}_origin", subjects=[f"{world.name}_>", f"{world.name}.>"])
        await ask(world, "CREATE", world.stream, mirror={"name": f"{world.name}_origin"})
    else:
        await ask(world, "CREATE", world.stream, subjects=[f"{world.name}._checkpoint"], no_ack=True)
    operator.application.goes_on()
    hint = await refusal(world)
    await ends_well(operator, hint, "own", "continue", "reload")


async def test_the_stream_belongs_to_another_slot(operator: Operator) -> None:
    world = operator.world
    owner = await has_run(operator)
    first, first_fence = world.stream, world.fence_subject
    world.settings |= {"DITTO_POSTGRES_SLOT": f"{world.name}_2"}
    hint = await refusal(world)
    await operator.follow(hint)
    assert operator.done == ["own"], hint
    await world.streaming(**SETTINGS)
    operator.consumer.reload()  # a new pipeline's consumers begin so
    operator.application.goes_on()
    operator.consumer.start()
    await operator.consumer.equals("t")
    assert owner.is_running
    world.stream, world.fence_subject = first, first_fence
    await world.matches_tables()


@pytest.mark.parametrize("on_gap", ["stop", "continue"])
async def test_the_stream_belongs_to_another_cluster(world: World, postgres_world: World, on_gap: str) -> None:
    """Which pg_upgrade did not make of it: test_upgrade.py has the other half of the hint."""
    for _ in range(6):
        world.sql("CREATE TABLE filled AS SELECT 1", "DROP TABLE filled", "SELECT pg_switch_wal()")
    await world.streaming()
    await world.fence()
    other = postgres_world
    other.stream, other.fence_subject = world.stream, world.fence_subject
    other.settings |= {
        name: world.settings[name] for name in ("DITTO_POSTGRES_SLOT", "DITTO_NATS_STREAM", "DITTO_EVENTS_PREFIX")
    }
    with open_operator(other) as operator:
        operator.application.goes_on()
        hint = await refusal(other, delivery_on_gap=on_gap)
        before, _, hint = hint.partition("otherwise") if on_gap == "stop" else ("", "", hint.partition("; where")[0])
        assert ("pg_upgrade" in before) == (on_gap == "stop")
        await operator.follow(hint)
        assert operator.done == ["own"], hint
        await other.streaming(**SETTINGS)
        operator.consumer.reload()
        operator.application.goes_on()
        operator.consumer.start()
        await operator.consumer.equals("t")
    await world.matches_tables()


# ------------------------------------------------------------------------------------ settings that lose events

RISKS: dict[str, dict[str, Any]] = {
    "storage": {"storage": "memory"},
    "retention": {"retention": "workqueue"},
    "allow_msg_ttl": {"allow_msg_ttl": True},
}


@pytest.mark.parametrize("setting", RISKS)
@pytest.mark.parametrize("tool", TOOLS)
async def test_the_stream_has_settings_that_cannot_be_changed(hostile: World, tool: str, setting: str) -> None:
    world = hostile
    subjects = [f"{world.name}._checkpoint", *(f"{world.name}_public_{name}" for name in ("t", "fence"))]
    await ask(world, "CREATE", world.stream, subjects=subjects, **RISKS[setting])
    with open_operator(world, tool) as operator:
        operator.ditto = await world.streaming(**SETTINGS)
        operator.application.goes_on()
        await world.fence()
        finding = (await check(world))[f"stream.{setting}"]
        assert finding.level == "warning"
        await ends_well(operator, finding.why, "remove", "continue", "reload")


@pytest.mark.parametrize("tool", TOOLS)
async def test_one_replica_in_a_cluster(hostile: World, tmp_path: Path, tool: str) -> None:
    world = hostile
    async with Cluster(tmp_path) as cluster:
        try:
            world.nats_server = cluster.servers[0]
            world.settings["DITTO_NATS_URL"] = cluster.url
            application, shell = Application(world), open_shell(world, tool)
            ditto = await world.streaming(**SETTINGS)
            application.goes_on()
            finding = (await check(world))["stream.replicas"]
            assert (finding.level, finding.fix_in) == ("warning", "shell")
            await shell.run(finding.fix or "")
            application.goes_on()
            await cluster.led(world.stream)
            await world.fence(timeout_s=60)
            assert (await check(world))["stream.replicas"].level == "ok"
            assert (await world.info()).config.num_replicas == SIZE
            await world.matches_tables()
            assert ditto.is_running
        finally:
            world.close()


# ------------------------------------------------------------------------------------ forged messages


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("kind", ["event", "checkpoint"])
async def test_a_forged_message(hostile: World, tool: str, kind: str) -> None:
    world = hostile
    with open_operator(world, tool) as operator:
        ditto = await has_run(operator)
        await ditto.stop()
        lsn = world.confirmed_lsn + (1 << 20)
        subject = world.fence_subject if kind == "event" else f"{world.name}._checkpoint"
        payload = {"lsn": format_lsn(lsn)} if kind == "checkpoint" else {"id": "0" * 36}
        headers = {"Ditto-Position": str(Position(lsn, int(kind == "event")))}
        async with world.jetstream() as jetstream:
            await jetstream.publish(subject, json.dumps(payload).encode(), headers=headers)
        while world.value(f"SELECT pg_current_wal_lsn() < '{format_lsn(lsn)}'"):
            world.sql("SELECT pg_logical_emit_message(false, 'noise', repeat('x', 100000))")
        operator.application.goes_on()
        await ends_well(operator, await refusal(world), "shell", "again")


# ------------------------------------------------------------------------------------ slots that cannot be used


@pytest.mark.parametrize("way", ["drop", "name"])
@pytest.mark.parametrize(
    "creation",
    [
        "pg_create_logical_replication_slot('{}', 'test_decoding')",
        "pg_create_physical_replication_slot('{}', true)",
        "pg_create_logical_replication_slot('{}', 'pgoutput', false, true)",
    ],
    ids=["plugin", "physical", "two_phase"],
)
async def test_the_slot_was_not_made_for_ditto(operator: Operator, creation: str, way: str) -> None:
    world = operator.world
    try:
        world.sql(f"SELECT {creation.format(world.name)}")
    except psycopg.errors.UndefinedFile:
        pytest.skip("this PostgreSQL came without that plugin")
    try:
        operator.application.goes_on()
        drop, _, name = (await refusal(world)).partition("; or ")
        await operator.follow(drop if way == "drop" else name)
        assert operator.done == (["drop", "again"] if way == "drop" else ["name"])
        if way == "name":
            await world.streaming(**SETTINGS)
        operator.consumer.reload()  # a new pipeline's consumers begin so
        operator.application.goes_on()
        operator.consumer.start()
        await operator.consumer.equals("t")
    finally:
        if way == "name":
            world.sql(f"SELECT pg_drop_replication_slot('{world.name}')")


async def test_the_slot_is_of_another_database(operator: Operator) -> None:
    world = operator.world
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')", dsn=world.postgres.dsn)
    try:
        hint = await refusal(world)
        await operator.follow(hint)
        assert operator.done == ["name"], hint
        await world.streaming(**SETTINGS)
        operator.consumer.reload()
        operator.application.goes_on()
        operator.consumer.start()
        await operator.consumer.equals("t")
    finally:
        world.sql(f"SELECT pg_drop_replication_slot('{world.name}')")


# ------------------------------------------------------------------------------------ changes that cannot be read


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_other_bytes_in_a_sql_ascii_database(open_world: OpenWorld, impl: str) -> None:
    world = open_world("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    world.settings["DITTO_IMPL"] = impl
    with open_operator(world) as operator:
        world.sql("ALTER TABLE t ADD note text", "ALTER TABLE t REPLICA IDENTITY FULL")
        ditto = await has_run(operator)
        with psycopg.connect(world.dsn, autocommit=True, client_encoding="SQL_ASCII") as connection:
            connection.execute(b"INSERT INTO t VALUES (-1, 0, 'caf\xe9 \\ ok'), (-2, 0, 'caf\xc3\xa9'), (-3, 0, NULL)")
        assert await ditto.ended() == 3
        assert "not UTF-8" in ditto.sentence()
        operator.application.goes_on()
        hint = ditto.sentence().partition("\n")[2]
        await ends_well(operator, hint, "correct", "drop", "continue", "reload")
        rows = world.sql("SELECT convert_to(note, 'SQL_ASCII') FROM t WHERE id < 0 ORDER BY id DESC")
        assert rows == [("café \\ ok".encode(),), ("café".encode(),), (None,)]


async def test_a_slot_that_postgresql_cannot_decode(operator: Operator) -> None:
    """The fault needs a storm of DDL and an old server; the hint does not."""
    ditto = await has_run(operator)
    await ditto.stop()
    error = command_error(Answer("unexpected duplicate", "XX000", "RelidByRelfilenumber"), doing="read the slot")
    assert isinstance(error, DecodingFailed)
    await ends_well(operator, error.hint or "", "again", "drop", "continue", "reload")
