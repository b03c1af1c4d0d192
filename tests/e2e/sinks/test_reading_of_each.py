"""`ditto verify` and `ditto tail` on each sink that can be read back: every format, rows of a snapshot, messages.

What is particular to one sink is in its own file.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.formats.test_commands import FORMATS

if TYPE_CHECKING:
    from e2e.sinks.replayed_world import ReplayedWorld

NOUNS = {"kafka": "topic", "redis": "keyspace", "rabbitmq": "stream", "file": "file"}
"""What each sink is called."""


@pytest.mark.parametrize("sink", NOUNS)
async def test_verify_and_tail(request: pytest.FixtureRequest, sink: str) -> None:
    world: ReplayedWorld = request.getfixturevalue(f"{sink}_world")
    formats = list(enumerate(FORMATS))
    world.sql(*(f"CREATE TABLE t{number} (id int PRIMARY KEY, n numeric)" for number, _ in formats))
    world.sql("CREATE TABLE s (id int PRIMARY KEY)", "INSERT INTO s SELECT generate_series(1, 50)")
    tables: dict[str, Any] = {f"t{number}": {"format": name} for number, name in formats}
    settings: dict[str, object] = {
        "events_schemas": True,
        "events_tables": {"fence": {}, "s": {}, **tables},
        "events_messages": {"orders.*": "{prefix}.{message.prefix}"},
    }
    ditto = await world.streaming(snapshot_mode="initial", snapshot_tables=["s"], **settings)
    await ditto.logged("snapshot.finished")
    for number, _ in formats:
        world.sql(f"INSERT INTO t{number} VALUES (1, 1.50), (2, 'NaN')", f"DELETE FROM t{number} WHERE id = 2")
    world.transaction("INSERT INTO s VALUES (51)", "SELECT pg_logical_emit_message(true, 'orders.a', '{\"n\":3}')")
    await world.fence()
    verified = await asyncio.to_thread(world.run, "verify", **settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert f"{NOUNS[sink]} equals tables" in verified.stdout
    for number, name in formats:
        assert (f"public.t{number}" in verified.stdout) == name.startswith("debezium"), verified.stdout
    shown = await asyncio.to_thread(world.run, "tail", "--no-follow", **settings)
    assert shown.stderr == ""
    order = [shown.stdout.index(f"INSERT    public.t{number}  id=1") for number, _ in formats]
    assert order == sorted(order), "in the order of the commits"
    lines = (await asyncio.to_thread(world.run, "tail", "--no-follow", "--json", **settings)).stdout.splitlines()
    rows = [json.loads(line)["data"]["id"] for line in lines if '"table":"s","action":"READ"' in line]
    assert rows[:50] == list(range(1, 51))
    assert sum(json.loads(line).get("payload") == {"n": 3} for line in lines) == 1
    assert await ditto.stop() == 0
    ditto = await world.streaming(**settings)
    world.sql(*(f"UPDATE t{number} SET n = 2" for number, _ in formats))
    await world.fence()
    verified = await asyncio.to_thread(world.run, "verify", "--json", **settings)
    assert verified.returncode == 0, "and after a restart with every format at the tail"
    report = json.loads(verified.stdout)
    assert (report["differences"], report["reads"] >= 50, report["messages"]) == ([], True, 1)
    assert await ditto.stop() == 0
