"""`ditto verify` and `ditto tail` on streams whose tables have different formats; and files."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from e2e.process import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World

FORMATS = ("ditto", "cloudevents", "cloudevents-binary", "debezium", "debezium-schema", "msgpack", "wal-listener")


def run(world: World, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    given = {f"DITTO_{name.upper()}": json.dumps(value) for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "ditto", *arguments],
        env={**os.environ, **world.settings, **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


async def test_verify_and_tail(world: World) -> None:
    world.sql(*(f"CREATE TABLE t{number} (id int PRIMARY KEY, v float8, n numeric)" for number in range(len(FORMATS))))
    tables = {"fence": {}, **{f"t{number}": {"format": name} for number, name in enumerate(FORMATS)}}
    await world.streaming(events_tables=tables)
    for number in range(len(FORMATS)):
        world.sql(
            f"INSERT INTO t{number} VALUES (1, 1e15, 1.50), (2, 'NaN', 'NaN')", f"DELETE FROM t{number} WHERE id = 2"
        )
    await world.fence()
    verified = run(world, "verify", events_tables=tables)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for number, name in enumerate(FORMATS):
        assert (f"public.t{number}" in verified.stdout) == name.startswith("debezium"), verified.stdout
    assert "its events have Debezium's values" in verified.stdout
    shown = run(world, "tail", "--no-follow")
    for number in range(len(FORMATS)):
        assert f"INSERT    public.t{number}  id=1" in shown.stdout
    lines = run(world, "tail", "--no-follow", "--json", "--table", f"t{FORMATS.index('msgpack')}").stdout.splitlines()
    assert json.loads(lines[0])["data"] == {"id": 1, "v": 1e15, "n": "1.50"}


@pytest.mark.parametrize("name", FORMATS)
async def test_a_file_goes_on_after_its_last_line(world: World, tmp_path: Path, name: str) -> None:
    path = tmp_path / "events"
    for key in ("DITTO_NATS_URL", "DITTO_NATS_STREAM"):
        del world.settings[key]
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    settings = {"file_path": str(path), "events_format": name}
    ditto = await world.streaming(**settings)

    def ids() -> list[int]:
        found = []
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # it is being written
            event = json.loads(line)
            if "payloadBase64" in event:
                event = msgspec.msgpack.decode(base64.b64decode(event["payloadBase64"]))
            event = event.get("payload", event)
            event = event.get("payload", event)
            if "specversion" in event:
                event = event["data"]
            row = event.get("after") or event.get("data")
            if row:
                found.append(row["id"])
        return found

    world.sql("INSERT INTO t SELECT generate_series(1, 100)")
    await eventually(lambda: len(ids()) == 100, "the rows are in the file")
    ditto.kill()
    world.sql("INSERT INTO t SELECT generate_series(101, 200)")
    await world.streaming(**settings)
    await eventually(lambda: len(ids()) >= 200, "the other rows are in the file")
    assert ids() == list(range(1, 201))
