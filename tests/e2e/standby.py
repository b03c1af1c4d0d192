"""A physical standby of a test's PostgreSQL, which can be promoted, and keeps copies of failover slots."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ditto.testing.programs import as_account, hand_over, postgres_account, reachable_programs
from ditto.testing.servers import PostgresServer

if TYPE_CHECKING:
    from e2e.world import World

SLOT = "standby"


def make_standby(world: World, folder: Path) -> PostgresServer:
    """A standby of `world.postgres`, not started yet; the physical slot `standby` is made for it."""
    account = postgres_account()
    folder.mkdir()
    # A password file would be the only secret in it: there is none, the servers trust.
    conninfo = f"host=127.0.0.1 port={world.postgres.port} user=postgres dbname=postgres"
    standby = PostgresServer(
        folder,
        settings={
            "fsync": "off",
            "hot_standby_feedback": "on",
            "sync_replication_slots": "on",
            "primary_slot_name": SLOT,
            "primary_conninfo": conninfo,
        },
    )
    standby._run_dir = hand_over(Path(tempfile.mkdtemp(prefix="ditto-", dir="/tmp")), account)
    data = standby._data_dir(standby._run_dir)
    program = reachable_programs(standby.bin_dir, account) / "pg_basebackup"
    result = subprocess.run(
        [program, "-D", data, "-d", conninfo, "-C", "-S", SLOT, "-X", "stream", "-c", "fast", "--no-sync"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **as_account(account),
    )
    assert result.returncode == 0, result.stderr
    (data / "standby.signal").touch()
    return standby
