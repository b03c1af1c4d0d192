"""`ditto check` against servers that are set up wrongly: each fault is found, and what it prints fixes it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from nats.js.api import StorageType

from ditto.check.finding import Finding
from ditto.check.run import run_checks
from ditto.check.transactions import transaction_finding
from ditto.config import load
from ditto.source.sql import open_control
from ditto.source.transactions import open_transactions
from ditto.testing.servers import NatsServer
from e2e.process import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World


async def check(world: World, **settings: str | dict[str, Any]) -> dict[str, Finding]:
    """The worst finding of each check."""
    given = {
        f"DITTO_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    order = {"ok": 0, "warning": 1, "error": 2}
    found: dict[str, Finding] = {}
    for finding in await run_checks(load(None, {}, {**world.settings, **given})):
        if finding.check not in found or order[finding.level] > order[found[finding.check].level]:
            found[finding.check] = finding
    return found


def fix(world: World, finding: Finding) -> None:
    """Enter what is printed, as a superuser."""
    assert finding.fix_in == "psql"
    assert finding.fix is not None
    world.sql(*(line for line in finding.fix.splitlines() if line.strip()))


def cli(world: World, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ditto", "check", *arguments],
        env={"PATH": "/usr/bin", **world.settings, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


CATALOGS = (
    "SELECT to_jsonb(p) FROM pg_publication p",
    "SELECT to_jsonb(s) - 'inactive_since' - 'safe_wal_size' FROM pg_replication_slots s",
    "SELECT name, setting FROM pg_settings ORDER BY 1",
    "SELECT oid, relname, relreplident FROM pg_class ORDER BY 1",
    "SELECT to_jsonb(r) FROM pg_roles r ORDER BY oid",
    "SELECT pg_current_wal_lsn()::text",
)


# What is looked at where all is set up. A limit that nobody has set is one point in place of two.
POINTS = {
    *(f"clock.{end}" for end in ("postgres", "nats")),
    *(f"nats.{each}" for each in ("connect", "version", "jetstream", "storage", "max_payload", "sync_interval")),
    *(f"nats.{each}" for each in ("permissions", "lease")),
    *(f"publication.{each}" for each in ("exists", "tables", "actions")),
    *(f"role.{each}" for each in ("connect", "replication")),
    *(f"server.{each}" for each in ("version", "wal_level", "slots", "walsenders", "max_slot_wal_keep_size")),
    *(f"server.{each}" for each in ("logical_decoding_work_mem", "wal_sender_timeout")),
    *(f"slot.{each}" for each in ("usable", "active", "retained_wal")),
    *(f"stream.{each}" for each in ("exists", "subjects", "storage", "discard", "max_age", "replicas", "limits")),
    *(f"stream.{each}" for each in ("writers", "tail")),
    *(f"tables.{each}" for each in ("exist", "identity")),
}


async def state(world: World) -> list[Any]:
    rows = [world.sql(query) for query in CATALOGS]
    async with world.jetstream() as jetstream:
        streams: list[dict[str, Any]] = [info.as_dict() for info in await jetstream.streams_info()]
    # Of other tests' streams the names are enough: their consumers come to their end at any time.
    own = [json.dumps(each, sort_keys=True, default=str) for each in streams if each["config"]["name"] == world.stream]
    return [rows, own, sorted(each["config"]["name"] for each in streams)]


async def test_nothing_is_found_where_all_is_well_and_nothing_is_changed(postgres_world: World) -> None:
    world = postgres_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "CHECKPOINT", "SELECT pg_switch_wal()")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (2)")
    await world.events()
    await world.confirms_tail()
    await ditto.stop()
    before = await state(world)
    tables = {"public.t": ["insert"]}
    found = await check(world, events_tables=tables)
    result = await asyncio.to_thread(cli, world, "--json", DITTO_EVENTS_TABLES=json.dumps(tables))
    assert await state(world) == before
    levels = {name: finding.level for name, finding in found.items() if finding.level != "ok"}
    assert levels == {"server.max_slot_wal_keep_size": "warning", "nats.sync_interval": "warning"}, levels
    assert set(found) >= POINTS, POINTS - set(found)
    assert result.returncode == 0, result.stderr
    assert {each["check"] for each in json.loads(result.stdout)} >= set(found)


async def test_the_table_names_what_is_wrong_and_exits_with_1(world: World) -> None:
    world.sql("CREATE TABLE bare (id int)", 'CREATE TABLE "red\x1b[31m" (id int)')
    result = await asyncio.to_thread(cli, world)
    assert result.returncode == 1, result.stderr
    assert "error" in result.stdout
    assert '  ALTER TABLE "public"."bare" REPLICA IDENTITY FULL;\n' in result.stdout, "in one line, to be copied"
    assert "red\\x1b[31m" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("arguments", [(), ("--json",)])
async def test_what_a_server_says_is_masked(world: World, arguments: tuple[str, ...]) -> None:
    """The name of a database that does not exist stands in PostgreSQL's own words."""
    dsn = f"{world.dsn.rpartition('/')[0]}/password=hushhush"
    result = await asyncio.to_thread(cli, world, *arguments, DITTO_POSTGRES_DSN=dsn)
    assert result.returncode == 1
    assert "password=" in result.stdout
    assert "hushhush" not in result.stdout + result.stderr


async def test_ends_that_cannot_be_reached_are_findings(world: World) -> None:
    result = await asyncio.to_thread(
        cli,
        world,
        "--json",
        DITTO_POSTGRES_DSN="postgres://x:secret@127.0.0.1:1/x",
        DITTO_NATS_URL="nats://127.0.0.1:1",
    )
    assert result.returncode == 1
    levels = {each["check"]: each["level"] for each in json.loads(result.stdout)}
    assert levels == {"role.connect": "error", "nats.connect": "error"}
    assert "secret" not in result.stdout + result.stderr


async def test_wal_level_and_free_slots(postgres_world: World) -> None:
    world = postgres_world
    world.postgres.settings.update(max_replication_slots="1", wal_sender_timeout="0")
    world.postgres.restart()
    world.sql("SELECT pg_create_physical_replication_slot('other')")
    found = await check(world)
    assert found["server.slots"].level == "error"
    assert found["server.wal_sender_timeout"].level == "warning"
    world.sql("SELECT pg_drop_replication_slot('other')")
    world.postgres.settings["wal_level"] = "replica"
    world.postgres.restart()
    found = await check(world)
    assert found["server.wal_level"].level == "error"
    assert found["server.slots"].level == "ok"
    assert "ALTER SYSTEM SET wal_level = 'logical';" in (found["server.wal_level"].fix or "")


async def test_a_slot_that_is_lost(postgres_world: World) -> None:
    world = postgres_world
    world.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')")
    for _ in range(4):
        world.sql("CREATE TABLE filler AS SELECT generate_series(1, 1000)", "DROP TABLE filler")
        world.sql("SELECT pg_switch_wal()", "CHECKPOINT")
    found = await check(world)
    assert found["slot.usable"].level == "error"
    assert "invalidated" in found["slot.usable"].what
    fix(world, found["slot.usable"])
    found = await check(world)
    assert "slot.usable" not in found
    assert found["slot.exists"].level == "ok"


async def test_privileges(world: World) -> None:
    role = f"{world.name}_app"
    world.sql(f"CREATE ROLE {role} LOGIN", "CREATE TABLE t (id int PRIMARY KEY)")
    dsn = world.dsn.replace("postgres@", f"{role}@")
    found = await check(world, postgres_dsn=dsn)
    assert found["role.replication"].level == "error"
    assert found["role.create_publication"].level == "error"
    fix(world, found["role.replication"])
    fix(world, found["role.create_publication"])
    found = await check(world, postgres_dsn=dsn)
    assert found["role.replication"].level == "ok"
    assert "role.create_publication" not in found
    assert found["publication.exists"].level == "ok"


async def test_tables_of_the_configuration_and_of_the_publication(world: World) -> None:
    world.sql(
        "CREATE TABLE trades (id int PRIMARY KEY)",
        "CREATE TABLE bare (id int)",
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10)",
        f"CREATE PUBLICATION {world.name} FOR TABLE bare, parted WITH (publish = 'insert, update')",
    )
    tables = {"trade": ["insert"], "trades": ["insert"], "bare": ["insert", "delete"], "parted": ["insert"]}
    found = await check(world, events_tables=tables)
    assert found["tables.exist"].level == "error"
    assert "trades" in (found["tables.exist"].fix or "")
    for name in ("publication.tables", "publication.actions", "tables.identity"):
        assert found[name].level != "ok", name
    for _ in range(2):  # tables that are not published, and then partitioned ones
        fix(world, (await check(world, events_tables=tables))["publication.tables"])
    fix(world, found["publication.actions"])
    fix(world, found["tables.identity"])
    found = await check(world, events_tables={**tables, "trade": []} | {"trade": ["insert"]})
    for name in ("publication.tables", "publication.actions", "tables.identity"):
        assert found[name].level == "ok", found[name]


async def test_roots_of_partitions(world: World) -> None:
    def parted(name: str) -> list[str]:
        return [
            f"CREATE TABLE {name} (id int PRIMARY KEY) PARTITION BY RANGE (id)",
            f"CREATE TABLE {name}_1 PARTITION OF {name} FOR VALUES FROM (0) TO (10)",
        ]

    world.sql("CREATE TABLE plain (id int PRIMARY KEY)", *parted("a"), *parted("b"), *parted("c"))
    world.sql(f"CREATE PUBLICATION {world.name} FOR TABLE a, b_1 WITH (publish_via_partition_root = true)")
    found = (await check(world, events_tables={"plain": ["insert"], "a_1": ["insert"]}))["publication.tables"]
    assert (found.level, found.fix) == ("error", f'ALTER PUBLICATION "{world.name}" ADD TABLE "public"."plain";')
    fix(world, found)
    found = (await check(world, events_tables={"a": ["insert"], "b": ["insert"]}))["publication.tables"]
    assert (found.level, found.fix) == ("error", f'ALTER PUBLICATION "{world.name}" ADD TABLE "public"."b";')
    fix(world, found)
    assert (await check(world, events_tables={"?": ["insert"]}))["publication.tables"].level == "error"
    world.sql(f"ALTER PUBLICATION {world.name} SET (publish_via_partition_root = false)")
    world.sql(f"ALTER PUBLICATION {world.name} DROP TABLE a, b", f"ALTER PUBLICATION {world.name} ADD TABLE c_1")
    assert (await check(world, events_tables={"c*": ["insert"]}))["publication.tables"].level == "ok"
    fix(world, (await check(world, events_tables={"c": ["insert"]}))["publication.tables"])
    assert (await check(world, events_tables={"c": ["insert"]}))["publication.tables"].level == "ok"
    row = world.sql(f"SELECT tablename FROM pg_publication_tables WHERE pubname = '{world.name}' AND tablename ~ '^c'")
    assert ("c",) in row


async def test_a_publication_for_tables_that_do_not_exist(world: World) -> None:
    found = await check(world, events_tables={"nowhere": ["insert"]})
    assert (found["publication.exists"].level, found["publication.exists"].fix) == ("error", None)


async def test_a_publication_that_is_missing(world: World) -> None:
    found = await check(world, postgres_create="false")
    assert found["publication.exists"].level == "error"
    assert found["slot.exists"].level == "error"
    fix(world, found["publication.exists"])
    fix(world, found["slot.exists"])
    found = await check(world, postgres_create="false")
    assert found["publication.exists"].level == "ok"
    assert found["slot.usable"].level == "ok"


async def test_nats_without_jetstream_or_with_small_messages(world: World, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "plain", jetstream=False) as server:
        missing = (await check(world, nats_url=server.url))["nats.jetstream"]
    assert (missing.level, missing.fix_in) == ("error", "nats-server")
    world.sql(
        "CREATE TABLE wide (id int PRIMARY KEY, note text)",
        "INSERT INTO wide SELECT n, repeat('x', 1500) FROM generate_series(1, 50) AS n",
        "ANALYZE wide",
    )
    with NatsServer(tmp_path / "small", config="max_payload: 2048") as server:
        found = (await check(world, nats_url=server.url))["nats.max_payload"]
    assert (found.level, found.fix_in) == ("error", "nats-server")
    assert "public.wide" in found.what
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=[world.fence_subject], max_msg_size=2048)
    found = (await check(world))["nats.max_payload"]
    assert (found.level, found.fix_in) == ("error", "shell")
    edit = f"nats --server={world.nats_server.url} stream edit {world.stream} --max-msg-size={4 << 20} --force"
    assert found.fix == edit
    world.sql(
        "UPDATE wide SET note = repeat('x', 20000000) WHERE id = 1", "ALTER TABLE wide ALTER note SET STORAGE EXTERNAL"
    )
    world.sql("DELETE FROM wide WHERE id > 1", "UPDATE wide SET note = note || 'y'", "VACUUM ANALYZE wide")
    with NatsServer(tmp_path / "large", config="max_payload: 64MB") as server:
        found = (await check(world, nats_url=server.url))["nats.max_payload"]
    assert (found.level, found.fix) == ("warning", None)


async def test_sync_interval_is_read_from_the_monitoring_endpoint(world: World, tmp_path: Path) -> None:
    store = json.dumps(str(tmp_path / "js"))
    config = f"http: 127.0.0.1:-1\njetstream {{ store_dir: {store}, sync_interval: always }}"
    with NatsServer(tmp_path / "always", config=config, jetstream=False) as server:
        log = server.log_path.read_text()
        url = next(line for line in log.splitlines() if "Starting http monitor on" in line).rpartition(" ")[2]
        found = await run_checks(
            load(None, {}, {**world.settings, "DITTO_NATS_URL": server.url}), monitor_url=f"http://{url}"
        )
    (sync,) = [finding for finding in found if finding.check == "nats.sync_interval"]
    assert (sync.level, "always" in sync.what) == ("ok", True), sync


async def test_a_stream_that_cannot_hold_the_events(world: World) -> None:
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(
            name=world.stream,
            subjects=[f"{world.name}.other"],
            storage=StorageType.MEMORY,
            max_msgs=10,
            discard="old",
            max_age=3600,
        )
        for _ in range(9):
            await jetstream.publish(f"{world.name}.other", b"not Ditto's")
    found = await check(world)
    assert found["stream.subjects"].level == "error"
    assert world.fence_subject in (found["stream.subjects"].fix or "")
    for name in ("storage", "discard", "max_age", "max_msgs", "writers"):
        assert found[f"stream.{name}"].level == "warning", name
    assert found["stream.storage"].fix is None
    assert "on_gap" in found["stream.storage"].why
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=f"{world.stream}_OTHER", subjects=[world.fence_subject])
    assert "takes" in (await check(world))["stream.subjects"].what


async def test_a_stream_that_was_deleted_behind_a_slot(world: World) -> None:
    ditto = await world.streaming()
    await world.fence()
    await ditto.stop()
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    used = f"SELECT total_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = '{world.name}'"
    await eventually(lambda: bool(world.value(used)), "the statistics know it (before 15 a little late)")
    assert (await check(world))["stream.tail"].level == "error"
    assert (await check(world, delivery_on_gap="continue"))["stream.tail"].level == "ok"


async def test_a_slot_that_was_dropped_beside_its_stream(world: World) -> None:
    ditto = await world.streaming()
    await ditto.stop()
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream)
    world.sql(f"SELECT pg_drop_replication_slot('{world.name}')")
    found = (await check(world))["stream.tail"]
    assert found.level == "error"
    assert "holds none of this pipeline's messages any more" in found.what
    assert "does not exist" in found.what
    assert (await check(world, delivery_on_gap="continue"))["stream.tail"].level == "ok"


async def test_a_retention_that_consumers_decide_on(world: World) -> None:
    for retention in ("interest", "workqueue"):
        async with world.jetstream() as jetstream:
            await jetstream.add_stream(name=world.stream, subjects=[world.fence_subject], retention=retention)
        found = (await check(world))["stream.retention"]
        assert found.level == "warning"
        assert (found.fix is None) == (retention == "workqueue"), "nats-server refuses that change"
        assert ("delete the stream" in found.why) == (retention == "workqueue")
        async with world.jetstream() as jetstream:
            await jetstream.delete_stream(world.stream)


async def test_a_server_that_was_promoted(postgres_world: World) -> None:
    """It goes on where the stream's timeline was left: nothing is wrong."""
    world = postgres_world
    ditto = await world.streaming()
    await world.fence()
    await world.confirms_tail()
    await ditto.stop()
    world.postgres.stop()
    folder = world.postgres._run_dir
    assert folder is not None
    (world.postgres._data_dir(folder) / "standby.signal").touch()
    world.postgres.start()
    world.sql("SELECT pg_promote()", dsn=world.postgres.dsn)
    assert world.value("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)") == "00000002"
    found = await check(world)
    assert found["stream.tail"].level == "ok", found["stream.tail"]


async def test_run_says_the_same_once_and_goes_on(world: World) -> None:
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=[f"{world.name}.>", world.fence_subject], max_age=3600)
        await jetstream.publish(f"{world.name}.other", b"not Ditto's")
    ditto = await world.streaming()
    first = await ditto.logged("check.warning", check="server.max_slot_wal_keep_size")
    assert first["level"] == "warning"
    assert "ALTER SYSTEM" in first["fix"]
    await ditto.logged("check.warning", check="stream.writers")
    assert not ditto.logs("check.warning", check="stream.max_age"), "stream.risk says it"
    pid = world.value(f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{world.name}'")
    world.sql(f"SELECT pg_terminate_backend({pid})")
    await ditto.streaming(count=2)
    await world.fence()
    assert len(ditto.logs("check.warning", check="server.max_slot_wal_keep_size")) == 1
    assert await ditto.stop() == 0


@pytest.mark.long
async def test_checks_that_fail_do_not_touch_what_works(nats_world: World) -> None:
    ditto = await nats_world.streaming(log_level="debug")
    nats_world.nats_server.pause()
    try:
        await eventually(lambda: bool(ditto.logs("check.failed") or ditto.logs("check.warning")), "the checks end")
    finally:
        nats_world.nats_server.resume()
    assert ditto.is_running


@pytest.mark.long
async def test_twenty_checks_at_once_leave_nothing_behind(world: World) -> None:
    await asyncio.gather(*(check(world) for _ in range(10)))
    await asyncio.gather(*(check(world) for _ in range(10)))
    assert world.sql(f"SELECT 1 FROM pg_replication_slots WHERE database = '{world.name}'") == []


async def test_the_oldest_transaction_is_named_to_a_role_without_rights(postgres_world: World) -> None:
    """Of another database too: the slot's WAL is kept for those as well. What is printed ends a prepared one."""
    world = postgres_world
    world.postgres.settings["max_prepared_transactions"] = "5"
    await asyncio.to_thread(world.postgres.stop)
    await asyncio.to_thread(world.postgres.start)
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE ROLE plain LOGIN REPLICATION")
    ditto = await world.streaming()
    dsn = world.dsn_by(world.postgres.port, user="plain")
    elsewhere = psycopg.connect(world.postgres.dsn, application_name="batch")
    elsewhere.execute("SELECT pg_current_xact_id()")
    world.sql("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s left'")
    finding = (await check(world, postgres_dsn=dsn))["slot.oldest_transaction"]
    assert f"PID {elsewhere.info.backend_pid}" in finding.what
    finding = (await check(world))["slot.oldest_transaction"]
    assert (
        f"PID {elsewhere.info.backend_pid} (database postgres, application batch, idle in transaction)" in finding.what
    )
    elsewhere.close()
    found = await open_an_hour_ago(world)
    assert 'prepared transaction "it\'s left"' in found.what
    fix(world, found)
    assert (await check(world))["slot.oldest_transaction"].what == "no open transaction has written anything"
    assert await ditto.stop() == 0


async def open_an_hour_ago(world: World) -> Finding:
    """As if the oldest transaction were an hour old."""
    async with open_control(world.dsn) as control:
        (oldest,) = await open_transactions(control, limit=1)
    return transaction_finding(msgspec.structs.replace(oldest, age_s=3600.0), 0)
