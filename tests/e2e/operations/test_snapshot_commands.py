"""`ditto snapshot` and a running Ditto: how far a run is, and what is done with it meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ditto
from ditto.hints import literal
from ditto.testing.process import free_port
from e2e.operations.test_http import samples, status
from e2e.operations.test_snapshot_requests import command, post
from e2e.operations.test_tail import printed
from e2e.process import eventually
from e2e.snapshots.finished import snapshot_finished
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from e2e.world import World

ROWS = 20_000


class Asked:
    """The commands for one world, whose Ditto listens."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.port = free_port()
        self.listen = f"127.0.0.1:{self.port}"

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        return await command(self.world, *arguments, DITTO_HTTP_LISTEN=self.listen)

    async def start(self, *arguments: str) -> str:
        code, out, err = await self("start", *arguments)
        assert code == 0, err
        return out.strip()

    async def run(self, name: str) -> dict[str, Any]:
        code, out, err = await self("status", name, "--json")
        assert code in {0, 1}, err
        (found,) = json.loads(out)["runs"]
        assert found["run"] == name
        return dict(found)

    async def is_in(self, name: str, state: str, *, rows: int = 0) -> dict[str, Any]:
        """The run, once it is in that state and has so many rows."""
        deadline = time.monotonic() + 30
        while True:
            _, out, _ = await self("status", "--json")
            (found,) = [each for each in json.loads(out)["runs"] if each["run"] == name] or [None]
            if found and found["state"] == state and sum(each["rows"] for each in found["tables"]) >= rows:
                return dict(found)
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)


async def test_a_run_is_watched_paused_resumed_and_cancelled(world: World) -> None:
    world.sql(
        "CREATE TABLE big (id int PRIMARY KEY, note text)",
        f"INSERT INTO big SELECT i, 'note ' || i FROM generate_series(1, {ROWS}) AS i",
        "CREATE TABLE small (id int PRIMARY KEY)",
        "INSERT INTO small VALUES (1), (2)",
        "ANALYZE",
    )
    asked = Asked(world)
    await world.streaming(http_listen=asked.listen, snapshot_chunk_rows="500")
    run = await asked.start("--max-rows-per-second", "2000", "-t", "big", "-t", "small")
    await asked.is_in(run, "reading", rows=500)
    (told,) = status(asked.port)["snapshots"]
    assert (told["run"], told["table"], told["tables"]) == (run, "public.big", 2)
    assert samples(asked.port)["ditto_snapshot_running"] == 1

    code, _, err = await asked("pause", run)
    assert code == 0, err
    paused = await asked.is_in(run, "paused")
    await asyncio.sleep(1)
    still = await asked.run(run)
    assert still["tables"][0]["rows"] < ROWS
    assert still["tables"][0]["rows"] - paused["tables"][0]["rows"] <= 1000, "no more than what was read already"
    await eventually(lambda: samples(asked.port)["ditto_snapshot_paused"] == 1, "the metrics say so")
    code, _, err = await asked("pause", run)
    assert (code, f"run {run} is paused already" in err) == (2, True)

    other = await asked.start("-t", "small")
    await asked.is_in(other, "waiting")
    assert (await asked.run(run))["state"] == "paused", "what is half read keeps its place, and others wait"
    code, _, err = await asked("resume", run)
    assert code == 0, err
    await asked.is_in(run, "reading")
    assert post(asked.port, f"/v1/snapshots/{run}/cancel")[0] == 202
    code, out, err = await asked("status", run, "--watch", "--every", "100ms")
    assert code == 1, out + err
    assert f"run {run}: cancelled" in out
    assert post(asked.port, f"/v1/snapshots/{run}/cancel")[0] == 409

    await asked.is_in(other, "done")
    whole = await asked.start()
    code, out, err = await asked("status", whole, "--watch", "--every", "100ms")
    assert code == 0, out + err
    assert f"public.big: done, {ROWS:,} rows" in out
    code, out, _ = await asked("status", whole)
    assert (code, bool(re.search(r"public\.small +done, 2 rows", out))) == (0, True), out
    found = samples(asked.port)
    assert found['ditto_snapshot_rows_total{schema="public",table="big"}'] >= ROWS
    assert found["ditto_snapshot_rows_remaining_estimate"] == found["ditto_snapshot_running"] == 0
    await world.matches_tables()


async def test_an_interrupted_watch_leaves_the_run_alone(world: World) -> None:
    world.sql("CREATE TABLE big (id int PRIMARY KEY)", f"INSERT INTO big SELECT generate_series(1, {ROWS})")
    asked = Asked(world)
    await world.streaming(http_listen=asked.listen, snapshot_chunk_rows="500")
    run = await asked.start("--max-rows-per-second", "4000", "-t", "big")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", "snapshot", "status", "--watch", "--every", "100ms"),
        env={
            **inherited,
            "PYTHONPATH": str(Path(ditto.__file__).parent.parent),
            "PYTHONUNBUFFERED": "1",
            **world.settings,
            "DITTO_HTTP_LISTEN": asked.listen,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert f"run {run}: " in (await process.stdout.readline()).decode()
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode() == (
        f"Not watched any more, and nothing else has changed.\n  to end it: ditto snapshot cancel {run}\n"
    )
    assert (await asked.is_in(run, "done"))["tables"][0]["rows"] == ROWS


async def test_tail_shows_a_snapshot(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    asked = Asked(world)
    await world.streaming(http_listen=asked.listen, events_schemas="true")
    run = await asked.start("-t", "t")
    await asked.is_in(run, "done")
    lines = [line.split(maxsplit=2)[2] for line in (await printed(world)).splitlines() if not line.startswith(" ")]
    assert [line for line in lines if "reading" not in line] == [
        f"SNAPSHOT    requested, run {run}",
        f"SNAPSHOT  public.t  begun, 0 rows, run {run}",
        "READ      public.t  id=1",
        "READ      public.t  id=2",
        f"SNAPSHOT  public.t  done, 2 rows, run {run}",
        f"SNAPSHOT    finished, run {run}",
    ]
    reads = [json.loads(line) for line in (await printed(world, "--json", "-a", "read", "-t", "t")).splitlines()]
    assert [each["data"]["id"] for each in reads if "action" in each] == [1, 2]
    assert (await printed(world, "-a", "insert")).strip() == ""


@pytest.mark.parametrize(
    ("request_", "run", "says"),
    [
        ('{"start": ["nowhere"], "run": "r1"}', "r1", "nowhere"),
        ('{"start": ["hidden"], "run": "r1"}', "r1", "hidden"),
        ('{"start": ["t"], "where": "pg_sleep(1) IS NULL", "run": "r1"}', "r1", "does not pass"),
        ('{"begin": ["t"]}', None, "the request cannot be read"),
        ("trades", None, "the request cannot be read"),
        ('{"pause": "r9"}', None, "there is no open run r9"),
    ],
)
async def test_a_request_that_cannot_be_done_is_told_and_changes_go_on(
    world: World, request_: str, run: str | None, says: str
) -> None:
    """Sent by SQL: nobody has looked at it before."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE hidden (id int PRIMARY KEY)")
    asked = Asked(world)
    process = await world.streaming(
        http_listen=asked.listen, events_tables={"t": ["insert"], "fence": ["insert"], "hidden": ["delete"]}
    )
    world.sql(f"SELECT pg_logical_emit_message(true, 'ditto.snapshot', {literal(request_)})")
    world.sql("INSERT INTO t VALUES (1)")
    if run is not None:
        code, out, err = await asked("status", run, "--watch", "--every", "100ms")
        assert code == 1, out + err
        assert says in out
        assert out.splitlines()[-1].startswith(f"run {run}: failed")
    await world.fence()
    await eventually(lambda: any(says in str(each.get("reason")) for each in process.logs()), "it is logged")
    assert [each.change for each in await world.events() if "action" in each.event] == [("t", "INSERT", 1)]
    assert process.is_running


async def test_a_table_without_a_key_and_what_verify_says(world: World) -> None:
    """Its rows come at one position, equal ones as often as they are there, and changes before and after fit."""
    world.sql(
        "CREATE TABLE log (at int, what text)",
        "ALTER TABLE log REPLICA IDENTITY FULL",
        "INSERT INTO log SELECT i % 100, 'same' FROM generate_series(1, 2000) AS i",
    )
    asked = Asked(world)
    await world.streaming(http_listen=asked.listen)
    world.sql("DELETE FROM log WHERE at = 7", "INSERT INTO log VALUES (1, 'same'), (1, 'same')")
    with Traffic(world):
        run = await asked.start("-t", "log")
        code, out, err = await asked("status", run, "--watch", "--every", "100ms")
        assert code == 0, out + err
    assert "public.log: done, 1,982 rows" in out
    world.sql("UPDATE log SET what = 'other' WHERE at < 3", "DELETE FROM log WHERE at = 8")
    await world.fence()
    reads = [each for each in await world.messages() if each.event.get("action") == "READ"]
    assert len({each.position.commit_lsn for each in reads}) == 1
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", "verify"),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(ditto.__file__).parent.parent), **world.settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        told, complaint = await process.communicate()
    assert process.returncode == 0, told.decode() + complaint.decode()
    assert re.search(r"^snapshots +1,982 rows read$", told.decode(), re.MULTILINE)
    assert re.search(r"^result +stream equals tables$", told.decode(), re.MULTILINE)


async def test_another_ditto_of_the_database_passes_a_request_over(world: World) -> None:
    """One that is sent by SQL, and names no slot, is for both."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 3)")
    await world.streaming()
    other = f"{world.name}_b"
    second = {"postgres_slot": other, "nats_stream": other.upper(), "events_prefix": other}
    process = await world.streaming(**second, snapshot_mode="initial")
    await process.logged("snapshot.finished")
    code, out, err = await command(world, "start", "-t", "t", **{f"DITTO_{k.upper()}": v for k, v in second.items()})
    assert code == 0, err
    await process.logged("snapshot.request", run=out.strip())
    await world.fence()
    assert await world.events() == []
    world.sql("""SELECT pg_logical_emit_message(true, 'ditto.snapshot', '{"start": ["t"]}')""")
    await snapshot_finished(world)
    assert sum(each.event.get("action") == "READ" for each in await world.events()) == 3
