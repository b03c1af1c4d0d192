"""pg_upgrade, as docs/guides/upgrading-postgresql.md says: the same stream goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ditto.errors import DittoError
from ditto.lsn import format_lsn
from ditto.testing.programs import as_account, hand_over, postgres_account, reachable_programs
from ditto.testing.servers import PostgresServer
from e2e.operator import PARTS
from e2e.world import World
from scripts.postgres_servers import bin_dir

if TYPE_CHECKING:
    from ditto.testing.servers import NatsServer

SETTINGS = "wal_level = logical\nmax_replication_slots = 20\n"


def programs(major: int) -> Path:
    try:
        return bin_dir(major)
    except DittoError as error:
        pytest.skip(str(error))


def run(command: list[str | Path], folder: Path) -> None:
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, **as_account(postgres_account())
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def new_cluster(folder: Path, old: PostgresServer) -> PostgresServer:
    """Not started yet, on the old one's port."""
    folder.mkdir()
    server = PostgresServer(folder, bin_dir=programs(18), port=old.port, settings={"fsync": "off"})
    account = postgres_account()
    server._run_dir = hand_over(Path(tempfile.mkdtemp(prefix="ditto-", dir="/tmp")), account)
    initdb = reachable_programs(server.bin_dir, account) / "initdb"
    options = ["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-data-checksums"]
    run([initdb, "-D", server.data_dir, *options], server._run_dir)
    return server


def upgrade(old: PostgresServer, new: PostgresServer) -> None:
    account = postgres_account()
    assert new._run_dir is not None
    for server in (old, new):
        with (server.data_dir / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
    bins = [reachable_programs(server.bin_dir, account) for server in (old, new)]
    command: list[str | Path] = [bins[1] / "pg_upgrade", "-U", "postgres", "--no-sync", "--socketdir", new._run_dir]
    command += ["-b", bins[0], "-B", bins[1], "-d", old.data_dir, "-D", new.data_dir]
    run(command, new._run_dir)


@pytest.mark.long
@pytest.mark.skipif("DITTO_TEST_POSTGRES" in os.environ, reason="it brings two majors of its own")
@pytest.mark.parametrize("major", [17, 16])
async def test_the_same_stream_goes_on(tmp_path: Path, shared_nats: NatsServer, major: int) -> None:
    with ExitStack() as stack:
        old = stack.enter_context(PostgresServer(tmp_path / "old", bin_dir=programs(major), settings={"fsync": "off"}))
        world = World(old, shared_nats, name=f"upgraded{major}", folder=tmp_path)
        stack.callback(world.close)
        world.sql("CREATE TABLE t (id int PRIMARY KEY)")
        ditto = await world.streaming()
        world.sql(*(f"INSERT INTO t VALUES ({row})" for row in range(1, 11)))
        # 2 and 3: nothing writes any more, Ditto runs through the shutdown.
        await asyncio.to_thread(old.stop, "fast")
        await ditto.logged("session.failed")
        # 4 and 5
        assert await ditto.stop() == 0
        tail = await world.tail()
        new = new_cluster(tmp_path / "new", old)
        stack.callback(new.close)
        await asyncio.to_thread(upgrade, old, new)
        # 6
        await asyncio.to_thread(new.start)
        world.postgres = new
        assert world.major == 18
        if major >= 17:
            assert world.confirmed_lsn > tail.commit_lsn
        ditto = world.ditto()
        assert await ditto.ended() == 4
        hint = ditto.sentence().partition("\n")[2].partition("; otherwise")[0]
        assert "after pg_upgrade" in hint
        assert [part.lastgroup for part in PARTS.finditer(hint)] == ["continue"]
        ditto = await world.streaming(delivery_on_gap="continue")
        changed = ditto.logs("stream.cluster_changed")[0]
        assert changed["level"] == "warning"
        assert ditto.logs("stream.gap_accepted", missing_from=format_lsn(tail.commit_lsn))
        # 7
        world.sql(*(f"INSERT INTO t VALUES ({row})" for row in range(11, 21)))
        await world.fence()
        assert await ditto.stop() == 0
        ditto = await world.streaming()
        world.sql("INSERT INTO t VALUES (21)")
        await world.matches_tables(event_count=21)
        assert not ditto.logs("stream.gap_accepted")
        # The ids of before still count, where one of those messages is the last.
        async with world.jetstream() as jetstream:
            foreign = (await jetstream.publish(f"{world.name}_public_t", b"foreign")).seq
            world.sql("INSERT INTO t VALUES (22)")
            await ditto.streaming(count=2)
            await world.fence()
            await jetstream.delete_msg(world.stream, foreign)
        await world.matches_tables(event_count=22)
        assert await ditto.stop() == 0
