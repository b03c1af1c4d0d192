"""A table that cannot be read ends alone: one clear error, and the others and the live stream go on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.rules.commands import ditto
from e2e.snapshots.recording import StreamRecording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.process import DittoProcess
    from e2e.world import World

SECRET = "row-value-7311"
"""In every row: to be found in no log and no reason."""


class Run:
    """A Ditto of a role that is no superuser, and a snapshot of `first`, `bad` and `last`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.role = f"{world.name}_role"
        self.recording = StreamRecording(world)
        self.ditto: DittoProcess

    async def begin(self, *more: str, publication: str = "FOR ALL TABLES", rows: int = 300) -> None:
        """Tables, role, publication, then `more`, then Ditto."""
        world = self.world
        for table in ("bad", "first", "last"):
            world.sql(
                f"CREATE TABLE {table} (id int PRIMARY KEY, note text, n int)",
                f"INSERT INTO {table} SELECT i, '{SECRET}', i FROM generate_series(1, {rows}) AS i",
                f"GRANT SELECT ON {table} TO {self.role}",
            )
        world.sql(f"CREATE PUBLICATION {world.name} {publication}", *more)
        dsn = world.dsn_by(world.postgres.port, user=self.role)
        self.ditto = await world.streaming(postgres_dsn=dsn, snapshot_chunk_rows="100")

    def ask(self, **body: Any) -> None:
        with self.world.connect() as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'ditto.snapshot', %s)", [json.dumps(body)])

    def ask_for_all(self, run: str = "run", **more: Any) -> None:
        self.ask(start=["public.first", "public.bad", "public.last"], run=run, **more)

    async def failed(self, *words: str, table: str = "bad", run: str = "run") -> str:
        """Wait for the end of the run: `table` has failed for a reason that has these words, the others are done."""
        await self.recording.finished(run, ditto=self.ditto)
        return await self.is_failed(*words, table=table, run=run, others=("first", "last"))

    async def is_failed(self, *words: str, table: str, run: str, others: tuple[str, ...]) -> str:
        (failure,) = self.recording.controls(run=run, state="failed")
        reason: str = failure["reason"]
        assert (failure["schema"], failure["table"]) == ("public", table)
        assert all(word in reason for word in words), reason
        assert "\n" not in reason
        done = [each["table"] for each in self.recording.controls(run=run, state="done")]
        assert sorted(done) == sorted(others)
        assert [self.recording.reads(run, name) for name in others] == [300] * len(others)
        await self.ditto.logged("snapshot.finished", level="warning", failed_tables=1, failed=f"public.{table}")
        logged = [each for each in self.ditto.logs() if each["level"] == "error"]
        assert len(logged) == 1, logged
        assert logged[0]["reason"] == reason
        assert logged[0]["hint"] == failure["hint"]
        await self.goes_on()
        return reason

    async def refused(self, *words: str, run: str = "run") -> None:
        """Wait until the request is refused: nothing is read at all."""
        await self.recording.until(
            lambda: bool(self.recording.controls(state="refused")), "the request is refused", ditto=self.ditto
        )
        (refusal,) = self.recording.controls(state="refused")
        assert all(word in refusal["reason"] for word in words), refusal
        await self.goes_on()
        assert self.recording.reads(run) == 0

    async def goes_on(self) -> None:
        self.world.sql(f"INSERT INTO first VALUES (-{len(self.recording.messages)}, 'x', 0)")
        await self.world.fence()
        assert not self.ditto.logs("session.failed")
        assert SECRET not in self.ditto.output
        await self.recording.read_on()


@pytest.fixture
async def run(world: World) -> AsyncIterator[Run]:
    made = Run(world)
    world.sql(f"CREATE ROLE {made.role} LOGIN REPLICATION")
    yield made
    if made.ditto.is_running:
        assert await made.ditto.stop() == 0
    world.sql(f"DROP OWNED BY {made.role}", f"DROP ROLE {made.role}")


async def test_no_right_to_read(run: Run) -> None:
    await run.begin(f"REVOKE SELECT ON bad FROM {run.role}")
    run.ask_for_all()
    await run.failed("public.bad", "may not read")
    run.world.sql(f"GRANT SELECT ON bad TO {run.role}")
    run.ask(start=["public.bad"], run="again")
    await run.recording.finished("again", ditto=run.ditto)
    assert run.recording.reads("again", "bad") == 300


async def test_row_level_security(run: Run) -> None:
    await run.begin("ALTER TABLE bad ENABLE ROW LEVEL SECURITY", "CREATE POLICY few ON bad USING (id < 10)")
    run.ask_for_all()
    await run.failed("public.bad", "row")
    assert run.recording.reads("run", "bad") == 0


async def test_not_published(run: Run) -> None:
    await run.begin(publication="FOR TABLE fence, first, last")
    run.ask_for_all()
    await run.failed("public.bad", "publi")


async def test_dropped_in_the_middle(run: Run) -> None:
    await run.begin(rows=300)
    run.ask_for_all(max_rows_per_s=300)
    await run.recording.until(lambda: run.recording.reads("run", "bad") > 0, "it is being read", ditto=run.ditto)
    run.world.sql("DROP TABLE bad")
    await run.failed("public.bad")


async def test_another_table_gets_its_name_in_the_middle(run: Run) -> None:
    """What the new one has before the cursor would never be read, and what was read of the old one is stale."""
    await run.begin("CREATE TABLE new (LIKE bad INCLUDING ALL)", f"GRANT SELECT ON new TO {run.role}")
    run.ask_for_all(max_rows_per_s=300)
    await run.recording.until(lambda: run.recording.reads("run", "bad") > 0, "it is being read", ditto=run.ditto)
    run.world.transaction("ALTER TABLE bad RENAME TO old", "ALTER TABLE new RENAME TO bad")
    await run.failed("public.bad", "another table")


@pytest.mark.parametrize("kind", ["bigint", "text"])
async def test_the_key_is_retyped_in_the_middle(run: Run, kind: str) -> None:
    await run.begin()
    run.ask_for_all(max_rows_per_s=300)
    await run.recording.until(lambda: run.recording.reads("run", "bad") > 0, "it is being read", ditto=run.ditto)
    run.world.sql(f"ALTER TABLE bad ALTER id TYPE {kind}")
    await run.failed("public.bad")


async def test_taken_out_of_the_publication_in_the_middle(run: Run) -> None:
    await run.begin(publication="FOR TABLE fence, first, bad, last")
    run.ask_for_all(max_rows_per_s=300)
    await run.recording.until(lambda: run.recording.reads("run", "bad") > 0, "it is being read", ditto=run.ditto)
    run.world.sql(f"ALTER PUBLICATION {run.world.name} DROP TABLE bad")
    await run.failed("public.bad")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("n <", ()),
        ("nn = 1", ("nn",)),
        ("n = (SELECT 1)", ()),
        ("ARRAY[" * 40 + "1" + "]" * 40 + " = n", ("nested",)),
        ("pg_sleep(100) IS NULL", ("pg_sleep",)),
        ("n = 1; DROP TABLE bad", ()),
        ("note > 5", ()),
    ],
)
async def test_a_condition_that_is_none(run: Run, where: str, words: tuple[str, ...]) -> None:
    """Asked for by SQL, where no command checks before. The table has it, or the request."""
    await run.begin()
    run.ask(start=["public.bad"], run="run", where=where)
    recording = run.recording

    def is_over() -> bool:
        return bool(recording.controls(run="run", state="finished") or recording.controls(state="refused"))

    await recording.until(is_over, "it is refused", ditto=run.ditto)
    if recording.controls(state="refused"):
        await run.refused(*words)
    else:
        await run.is_failed(*words, table="bad", run="run", others=())
    assert run.world.value("SELECT count(*) FROM bad") == 300


async def test_a_condition(run: Run) -> None:
    await run.begin()
    run.ask(start=["public.bad"], run="run", where="id BETWEEN 1 AND 250 AND (n % 2 = 0 OR note ILIKE 'no%')")
    await run.recording.finished("run", ditto=run.ditto)
    assert run.recording.reads("run", "bad") == 125
    assert run.recording.controls(run="run", state="done")


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        '{"start": "public.first"}',
        '{"begin": ["public.first"]}',
        '{"start": ["public.nowhere"]}',
        '{"start": ["public."]}',
        '{"start": ["public.' + "x" * 5000 + '"]}',
        '{"start": ["public.first", "public.last"], "where": "n = 1"}',
        '{"start": ["public.first"], "run": "a b"}',
        '{"start": ["public.first"], "max_rows_per_s": -1}',
        '{"resume": "unknown"}',
    ],
)
async def test_a_request_that_is_none(run: Run, body: str) -> None:
    await run.begin()
    with run.world.connect() as connection:
        connection.execute("SELECT pg_logical_emit_message(true, 'ditto.snapshot', %s)", [body])
    recording = run.recording

    def is_over() -> bool:
        return bool(recording.controls(state="refused") or recording.controls(state="failed"))

    await recording.until(is_over, "it is refused", ditto=run.ditto)
    assert [each["reason"] for each in recording.controls() if "reason" in each]
    await run.goes_on()
    assert recording.reads("run") == 0


async def test_a_request_that_is_not_transactional_leaves_a_trace(run: Run) -> None:
    await run.begin()
    run.world.sql("""SELECT pg_logical_emit_message(false, 'ditto.snapshot', '{"start": ["public.bad"]}')""")
    ignored = await run.ditto.logged("snapshot.ignored")
    assert "pg_logical_emit_message(true" in ignored["hint"]
    await run.goes_on()
    assert not run.recording.controls()


@pytest.mark.long
async def test_the_right_to_write_messages_is_missed_once_in_the_log(run: Run) -> None:
    await run.begin()
    functions = run.world.sql("SELECT oid::regprocedure::text FROM pg_proc WHERE proname = 'pg_logical_emit_message'")
    run.ask_for_all(max_rows_per_s=100)
    recording = run.recording
    await recording.until(lambda: recording.reads("run", "first") > 0, "it is being read", ditto=run.ditto)
    run.world.sql(*(f"REVOKE EXECUTE ON FUNCTION {each} FROM PUBLIC" for (each,) in functions))
    missed = await run.ditto.logged("snapshot.retrying", timeout_s=30)
    assert missed["hint"].startswith("GRANT EXECUTE ON FUNCTION pg_catalog.pg_logical_emit_message")
    await asyncio.sleep(4)  # three more attempts
    run.world.sql(*(f"GRANT EXECUTE ON FUNCTION {each} TO PUBLIC" for (each,) in functions))
    await recording.finished("run", ditto=run.ditto)
    assert len(run.ditto.logs("snapshot.retrying")) == 1
    assert not run.ditto.logs("snapshot.failed")
    assert [recording.reads("run", name) for name in ("first", "bad", "last")] == [300] * 3


@pytest.mark.parametrize("settings", [{"snapshot_mode": "initial"}, {"delivery_on_gap": "snapshot"}])
async def test_a_stream_that_takes_no_control_events_is_refused_at_the_start(
    world: World, settings: dict[str, str]
) -> None:
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(
            name=world.stream, subjects=[f"{world.name}_public_*", f"{world.name}._checkpoint"], allow_rollup_hdrs=True
        )
    ditto = world.ditto(nats_create="false", **settings)
    assert await ditto.ended() == 4
    assert f"{world.name}._snapshot.>" in ditto.sentence()
    assert world.value(f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{world.name}'") == 0


@pytest.mark.parametrize("listen", [None, ":0"])
async def test_a_command_that_could_not_work_is_not_shown(world: World, listen: str | None) -> None:
    """`ditto snapshot status` asks over HTTP: where there is none nobody is told to enter it."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    await world.streaming()
    more = {} if listen is None else {"DITTO_HTTP_LISTEN": listen}
    result = await ditto(world, "snapshot", "start", "--table", "t", **more)
    assert result.exit_code == 0, result.output
    assert ("ditto snapshot status" in result.stderr) is (listen is not None)
    assert ("ditto tail" in result.stderr) is (listen is None)
