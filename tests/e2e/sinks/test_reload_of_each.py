"""A reload on each sink: the session that works holds it while the other configuration is looked at."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from e2e.process import eventually
from e2e.sinks.webhook_world import WebhookWorld
from e2e.snapshots.writers import request as ask

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.sinks.replayed_world import ReplayedWorld

OTHERS = ["redis_world", "rabbitmq_world", "exchange_world", "kafka_world", "webhook_world"]


@pytest.fixture(params=["file_world", *(pytest.param(each, marks=pytest.mark.long) for each in OTHERS)])
def any_world(request: pytest.FixtureRequest) -> ReplayedWorld:
    """On each sink."""
    world: ReplayedWorld = request.getfixturevalue(request.param)
    return world


async def test_a_reload_takes_other_rules_and_refuses_wrong_ones(any_world: ReplayedWorld, tmp_path: Path) -> None:
    world = any_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    file = tmp_path / "ditto.json"

    def write(rules: Any) -> None:
        file.write_text(json.dumps({"events": {"tables": {"t": rules, "fence": ["insert"]}}}))

    write(["insert"])
    process = await world.streaming(config=str(file))
    world.sql("INSERT INTO t VALUES (1, 'clear')")
    write({"columns": {"exclude": ["nam"]}})
    process.send(signal.SIGHUP)
    assert "names the column nam" in (await process.logged("reload.refused"))["reason"]
    write({"columns": {"exclude": ["name"]}})
    process.send(signal.SIGHUP)
    await process.logged("reload.applied")
    world.sql("INSERT INTO t VALUES (2, 'clear')")
    if isinstance(world, WebhookWorld):  # the last transaction comes again, by the new rules
        await world.fence()
        payloads = [each for each in world.raw() if b'"fence"' not in each]
    else:
        payloads = [each.payload for each in await world.events()]
    first: dict[str, Any] = {}
    for event in map(json.loads, payloads):
        first.setdefault(event["id"], event["data"])
    assert list(first.values()) == [{"id": 1, "name": "clear"}, {"id": 2}]
    assert await process.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize("name", ["kafka_world", "rabbitmq_world", "redis_world", "file_world"])
async def test_a_mask_that_comes_while_a_table_is_half_read(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    """Its key is masked, too: the table is read anew."""
    world: ReplayedWorld = request.getfixturevalue(name)
    world.sql(
        "CREATE TABLE t (email text PRIMARY KEY, note text)",
        "INSERT INTO t SELECT 'clear' || n, 'clear' FROM generate_series(1, 200) AS n",
    )
    file = tmp_path / "ditto.json"

    def write(rules: Any) -> None:
        file.write_text(json.dumps({"events": {"tables": {"t": rules, "fence": ["insert"]}}}))

    write({})
    process = await world.streaming(config=str(file), snapshot_chunk_rows="20")
    await world.fence()
    ask(world, "run", "public.t", max_rows_per_s=100)
    while not any(b'"READ"' in each.payload for each in await world.messages()):
        assert process.is_running
    write({"columns": {"mask": {"email": {"hash": "sha256"}, "note": {"null": True}}}})
    process.send(signal.SIGHUP)
    await process.logged("reload.applied")
    world.sql("UPDATE t SET note = 'clear-too'", "INSERT INTO t VALUES ('clear-new', 'clear')")
    await eventually(lambda: bool(process.logs("snapshot.finished")), "it is read", timeout_s=30)
    payloads = [each.payload for each in await world.events()]
    is_clear = [b"clear" in each for each in payloads]
    first = is_clear.index(False, is_clear.index(True))
    assert not any(is_clear[first:])
    assert 0 < sum(is_clear) < 200
    read = [json.loads(each)["data"]["email"] for each in payloads[first:] if b'"READ"' in each]
    assert len(set(read)) == world.value("SELECT count(*) FROM t")
    assert await process.stop() == 0
