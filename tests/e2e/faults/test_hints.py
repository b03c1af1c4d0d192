"""What a hint says is done, to the letter and in its order, while the application goes on: no consumer lacks a row.

`e2e.operator` knows how; hints of streams and slots that cannot be used are in test_hints_unusable.py.
"""

from __future__ import annotations

import ast
import re
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from e2e.consumer import Consumer
from e2e.faults.test_slot_faults import loses_its_wal
from e2e.operator import SETTINGS, Application, Operator, ends_well, has_run, open_operator, refusal
from e2e.process import eventually
from e2e.shell import TOOLS, Shell, open_shell, shim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.conftest import OpenWorld
    from e2e.process import DittoProcess
    from e2e.world import World


@pytest.fixture
def operator(world: World) -> Iterator[Operator]:
    with open_operator(world) as operator:
        yield operator


async def test_the_slot_was_dropped(operator: Operator) -> None:
    ditto = await has_run(operator)
    await ditto.stop()
    await operator.shell.run("ditto slot drop --yes")
    operator.application.goes_on()
    await ends_well(operator, await refusal(operator.world), "continue", "reload")


async def test_the_slot_was_dropped_under_a_running_ditto(operator: Operator) -> None:
    world = operator.world
    ditto = await has_run(operator)

    def is_dropped() -> bool:
        mine = f"FROM pg_replication_slots WHERE slot_name = '{world.name}' AND active_pid IS"
        world.sql(
            f"SELECT pg_terminate_backend(active_pid, 5000) {mine} NOT NULL",
            f"SELECT pg_drop_replication_slot(slot_name) {mine} NULL",
        )
        return not world.sql(f"SELECT {mine} NULL OR slot_name = '{world.name}'".replace("SELECT", "SELECT 1"))

    await eventually(is_dropped, "the slot is dropped")
    assert await ditto.ended() in {3, 4}
    await ends_well(operator, ditto.sentence().partition("\n")[2], "continue", "reload")


async def test_the_slot_was_invalidated(postgres_world: World) -> None:
    world = postgres_world
    consumer = Consumer.in_python(world)
    with closing(consumer):
        operator = Operator(world, Shell(world, shim(world.folder / "tools")), Application(world), consumer)
        ditto = await has_run(operator)
        await ditto.stop()
        operator.application.goes_on()
        await loses_its_wal(world)
        world.sql("ALTER SYSTEM SET max_slot_wal_keep_size = -1", "SELECT pg_reload_conf()", "DROP TABLE noise")
        await ends_well(operator, await refusal(world), "drop", "continue", "reload")


async def test_the_stream_was_purged(operator: Operator) -> None:
    world = operator.world
    ditto = await has_run(operator)
    operator.application.goes_on()
    await world.fence()
    await world.confirms_tail()
    await ditto.stop()
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream)
    operator.application.goes_on()
    await ends_well(operator, await refusal(world), "continue", "reload")


async def test_the_stream_was_deleted(operator: Operator) -> None:
    world = operator.world
    ditto = await has_run(operator)
    operator.application.goes_on()
    await world.fence()
    await world.confirms_tail()
    await ditto.stop()
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    operator.application.goes_on()
    hint = await refusal(world)
    other_tool, _, deleted = hint.partition("that is all. ")
    assert "another tool" in other_tool
    await ends_well(operator, deleted, "continue", "reload")


async def test_the_publication_was_dropped(operator: Operator) -> None:
    world = operator.world
    ditto = await has_run(operator)
    world.sql(f"DROP PUBLICATION {world.name}")
    operator.application.goes_on()
    assert await ditto.ended() == 3
    hint = ditto.sentence().partition("\n")[2]
    await ends_well(operator, hint, "create", "drop", "continue", "reload")


async def test_the_publication_is_younger_than_the_slot(operator: Operator) -> None:
    world = operator.world
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')")
    operator.application.goes_on()
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    operator.application.goes_on()
    hint = await refusal(world)
    world.sql(f"DROP PUBLICATION {world.name}")  # the hint begins where there is none
    await ends_well(operator, hint, "create", "drop", "continue", "reload")


async def test_a_table_that_the_configuration_names_was_taken_out(operator: Operator) -> None:
    world = operator.world
    world.sql(f"CREATE PUBLICATION {world.name} FOR TABLE t, fence")
    ditto = await has_run(operator)
    await ditto.stop()
    world.sql(f"ALTER PUBLICATION {world.name} DROP TABLE t")
    operator.application.goes_on()
    hint = await refusal(world, events_tables={"t": ["insert", "update", "delete"], "fence": ["insert"]})
    await ends_well(operator, hint, "sql", "again", "reload")


async def test_a_table_was_taken_out_that_only_the_publication_selects(operator: Operator) -> None:
    world = operator.world
    world.sql(f"CREATE PUBLICATION {world.name} FOR TABLE t, fence")
    ditto = await has_run(operator)
    world.sql(f"ALTER PUBLICATION {world.name} DROP TABLE t")
    operator.application.goes_on()
    warning = await ditto.logged("publication.tables_removed")
    await ends_well(operator, warning["hint"], "sql", "reload")


def sh(line: str) -> None:
    subprocess.run(["sh", "-c", line], check=True)


async def test_the_database_was_restored_from_an_earlier_copy(postgres_world: World) -> None:
    """Its new changes would be taken for old ones."""
    world = postgres_world
    consumer = Consumer.in_python(world)
    with closing(consumer):
        operator = Operator(world, Shell(world, shim(world.folder / "tools")), Application(world), consumer)
        ditto = await has_run(operator)
        await ditto.stop()
        run_dir = world.postgres._run_dir
        assert run_dir is not None
        data = world.postgres._data_dir(run_dir)
        world.postgres.stop()
        sh(f"cp --archive {data} {data}.copy")
        world.postgres.start()
        ditto = await world.streaming(**SETTINGS)
        for _ in range(20):
            operator.application.goes_on()
        await world.fence()
        await ditto.stop()
        world.postgres.stop()
        sh(f"rm -r {data} && mv {data}.copy {data}")
        world.postgres.start()
        hint = await refusal(world)
        world.sql("DROP TABLE IF EXISTS leftover")
        await ends_well(operator, hint, "anew", "reload")


async def test_a_text_that_has_no_place_in_utf8(open_world: OpenWorld) -> None:
    """The row is put right first: it could not be reloaded either."""
    world = open_world("ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    consumer = Consumer.in_python(world)
    with closing(consumer):
        operator = Operator(world, Shell(world, shim(world.folder / "tools")), Application(world), consumer)
        world.sql("ALTER TABLE t ADD note text")
        ditto = await has_run(operator)
        with psycopg.connect(world.dsn, autocommit=True, client_encoding="EUC_JP") as connection:
            connection.execute(b"INSERT INTO t VALUES (-1, 0, '\xad\xfe')")
        assert await ditto.ended() == 3
        assert "cannot convert to UTF-8" in ditto.sentence()
        operator.application.goes_on()
        hint = ditto.sentence().partition("\n")[2]
        await ends_well(operator, hint, "correct", "drop", "continue", "reload")


def is_full(operator: Operator, ditto: DittoProcess) -> bool:
    operator.application.goes_on()
    return bool(ditto.logs("session.failed", kind="NotNow"))


@pytest.mark.parametrize("tool", TOOLS)
async def test_the_stream_is_full_and_is_purged_but_for_its_last_message(world: World, tool: str) -> None:
    consumer = Consumer.in_python(world)
    with closing(consumer):
        operator = Operator(world, open_shell(world, tool), Application(world), consumer)
        subjects = [f"{world.name}._checkpoint", *(f"{world.name}_public_{name}" for name in ("t", "fence"))]
        async with world.jetstream() as jetstream:
            await jetstream.add_stream(name=world.stream, subjects=subjects, discard="new", max_msgs=300)
        ditto = await world.streaming(**SETTINGS)
        follower = consumer.start()
        await eventually(lambda: is_full(operator, ditto), "the stream is full")
        failure = await ditto.logged("session.failed", count=2, kind="NotNow", timeout_s=60)
        last = (await world.info()).state.last_seq
        await eventually(lambda: consumer.sequence == last, "the consumer has read everything")
        follower.end(signal.SIGKILL)
        await operator.follow(failure["hint"])
        assert operator.done == ["purge"], failure["hint"]
        consumer.start()
        await consumer.equals("t")
        runbook = (Path(__file__).parents[3] / "docs" / "operations" / "runbooks.md").read_text()
        commands = re.findall(r"^nats stream .*$", runbook, re.MULTILINE)
        assert [command.split()[2] for command in commands] == ["edit", "purge"]
        for command in commands:
            await operator.shell.run(command.replace("DITTO", world.stream))
        operator.application.goes_on()
        await consumer.equals("t")


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text in the source, without what an f-string puts in."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node)}
            parts = [
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part)[1:-1]}}}"
                for part in node.values
            ]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def test_whoever_says_reload_says_it_after_the_start() -> None:
    """The wording: `ditto.hints.RELOAD`. A reload before the start loses what is committed in between."""
    top = Path(__file__).parents[3]
    texts = [
        (f"{path.relative_to(top)}:{line}", text)
        for path in sorted((top / "ditto").rglob("*.py"))
        for line, text in strings(ast.parse(path.read_text()))
    ]
    texts += [
        (f"{path.relative_to(top)}", part)
        for path in [top / "README.md", *sorted((top / "docs").rglob("*.md"))]
        for part in re.split(r"\n\n|\|\n", path.read_text())
    ]
    wrong = [
        (where, text)
        for where, text in texts
        if re.search(r"reload", text, re.IGNORECASE)
        and "on_gap: continue" in text
        and re.search(r"reload", text, re.IGNORECASE).start() < text.index("on_gap: continue")  # type: ignore[union-attr]
    ]
    assert wrong == []
    purges = [(where, line) for where, text in texts for line in text.splitlines() if "stream purge" in line]
    assert purges
    assert [each for each in purges if "--keep=1" not in each[1]] == []
