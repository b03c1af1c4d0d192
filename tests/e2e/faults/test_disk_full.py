"""The file system under nats-server is full: Ditto waits, says so, and goes on when there is room.

Needs the right to mount a file system of a few megabytes; `test_stream_full` fills what JetStream is allotted instead.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.world import World

TIGHT, WIDE = "size=12m", "size=1g"


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", TIGHT, "tmpfs", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def some(ledger: Ledger) -> None:
    before = ledger.committed_count
    await eventually(lambda: ledger.committed_count >= before + 50, "the application goes on")


@pytest.mark.long
async def test_the_disk_of_nats_server_is_full(small_disk: Path, nats_world: World) -> None:
    """nats-server 2.15 goes on saying "no space left on device" when there is room again, until it is restarted."""
    world, server = nats_world, nats_world.nats_server
    server.stop()
    server.store_dir = small_disk / "jetstream"
    # More than there is: by default nats-server allots itself three quarters of what is free when it starts.
    server.config = f"jetstream: {json.dumps({'store_dir': str(server.store_dir), 'max_file_store': 1 << 30})}"
    server.start()
    ditto = await world.streaming()
    with Ledger(world) as ledger:
        failure = await ditto.logged("session.failed", kind="NotNow", count=2, timeout_s=90)
        assert "could not write" in failure["error"]
        assert "disk" in failure["hint"]
        assert failure["retained_bytes"] > 0
        tail = await world.tail()
        await some(ledger)
        assert await world.tail() == tail, "nothing is stored"
        assert world.confirmed_lsn <= tail.commit_lsn
        assert ditto.is_running
        mount("-o", f"remount,{WIDE}", small_disk)
        await asyncio.to_thread(server.restart)
        await world.fence(timeout_s=60)
        await some(ledger)
    await matches_ledger(world)
    assert await ditto.stop() == 0
