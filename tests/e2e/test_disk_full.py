"""The file system under nats-server is full: as with a full stream, Ditto waits, says so, and goes on when there is room.

Needs the right to mount a file system of a few megabytes; `test_stream_full` fills what JetStream is allotted instead.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.world import World

MEGABYTE = 1 << 20
TIGHT, WIDE = "size=12m", "size=1g"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", TIGHT, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if result.returncode:
        pytest.skip(f"a file system cannot be mounted here: {result.stderr.strip()}")
    with ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "-l", folder], check=True)
        yield folder


@pytest.mark.long
async def test_the_disk_of_nats_server_is_full(small_disk: Path, nats_world: World) -> None:
    world, server = nats_world, nats_world.nats_server
    server.stop()
    server.store_dir = small_disk / "jetstream"
    # More than there is: by default nats-server allots itself three quarters of what is free when it starts.
    server.config = f"jetstream: {json.dumps({'store_dir': str(server.store_dir), 'max_file_store': 1 << 30})}"
    server.start()
    ditto = await world.streaming()
    with Ledger(world, pause_s=0.005) as ledger:
        await ditto.logged("attempt.failed", count=3, timeout_s=60)
        print(ditto.output[-5000:])
        before = ledger.committed_count
        await eventually(lambda: ledger.committed_count >= before + 50, "the application goes on")
        subprocess.run(["mount", "-o", f"remount,{WIDE}", small_disk], check=True)
        try:
            await world.fence(timeout_s=60)
            print("goes on by itself")
        except AssertionError as e:
            print(str(e)[-3000:])
            server.restart()
            await world.fence(timeout_s=60)
            print("after restart")
        print(server.log_path.read_text()[-3000:])
    await matches_ledger(world)
    assert await ditto.stop() == 0
