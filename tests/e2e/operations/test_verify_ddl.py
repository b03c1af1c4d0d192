"""`ditto verify` where tables have changed: what no event can tell is named, and not called a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import nats
import pytest

from ditto.source.sql import open_control
from ditto.testing.stream_replay import replay
from ditto.verify import Comparison, compare, read_publication, table_keys

if TYPE_CHECKING:
    from e2e.world import World

FULL = "ALTER TABLE t REPLICA IDENTITY FULL"


async def check(world: World) -> Comparison:
    """What `ditto verify` finds, once everything has arrived."""
    await world.fence()
    client = await nats.connect(world.nats_server.url, allow_reconnect=False)
    try:
        async with open_control(world.dsn) as control:
            publication = await read_publication(control, world.name)
            keys = await table_keys(control, publication.tables)
            copy = await replay(client, world.stream, keys=keys, prefix=world.name)
            result = await compare(control, copy, publication=publication)
            result.differences += copy.differences
            return result
    finally:
        await client.close()


class Case(NamedTuple):
    """Statements, each of a transaction of its own, and what is said of the table then."""

    statements: tuple[str, ...]
    reason: str | None
    """A part of why it cannot be judged; None where it is equal."""
    table: str = "public.t"


ADDED = "was added or renamed when rows were there"
ALTERED = "was altered when rows were there"

CASES = {
    "a key column that comes later": Case(
        ("CREATE TABLE t (a int)", "INSERT INTO t VALUES (1), (2), (2)", "ALTER TABLE t ADD id serial PRIMARY KEY"),
        f"column id {ADDED}",
    ),
    "a key column that comes later, and a row that goes then": Case(
        (
            "CREATE TABLE t (a int)",
            FULL,
            "INSERT INTO t VALUES (1), (2), (3)",
            "ALTER TABLE t ADD id serial PRIMARY KEY",
            "DELETE FROM t WHERE id = 1",
            "UPDATE t SET a = 7 WHERE id = 2",
            "INSERT INTO t (a) VALUES (8)",
        ),
        f"column id {ADDED}",
    ),
    "a key that comes later, over columns that were there": Case(
        (
            "CREATE TABLE t (a int, b int)",
            FULL,
            "INSERT INTO t VALUES (1, 1), (1, 2)",
            "DELETE FROM t WHERE b = 1",
            "ALTER TABLE t ADD PRIMARY KEY (a)",
            "UPDATE t SET b = 3",
        ),
        "its key was made later",
    ),
    "a column with a default": Case(
        ("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "ALTER TABLE t ADD a int DEFAULT 5"),
        f"column a {ADDED}",
    ),
    "a column without a default": Case(
        ("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "ALTER TABLE t ADD a int"), None
    ),
    "a column without a default, and no key": Case(
        (
            "CREATE TABLE t (a int, b int)",
            FULL,
            "INSERT INTO t VALUES (1, 1), (1, 1)",
            "ALTER TABLE t ADD c int, DROP b",
            "DELETE FROM t WHERE ctid = '(0,1)'",
        ),
        None,
    ),
    "a column of another type": Case(
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int)",
            "INSERT INTO t VALUES (1, 7), (2, 8)",
            "ALTER TABLE t ALTER a TYPE text USING 'n' || a",
            "INSERT INTO t VALUES (3, 'x')",
        ),
        f"column a {ALTERED}",
    ),
    "a timestamp that gets a zone": Case(
        (
            "CREATE TABLE t (id int PRIMARY KEY, a timestamp)",
            "INSERT INTO t VALUES (1, '2026-01-02 03:04:05')",
            "SET timezone = 'UTC'; ALTER TABLE t ALTER a TYPE timestamptz",
        ),
        None,
    ),
    "a value of an enum is renamed": Case(
        (
            "CREATE TYPE mood AS ENUM ('sad', 'fine')",
            "CREATE TABLE t (id int PRIMARY KEY, m mood, ms mood[])",
            "INSERT INTO t VALUES (1, 'sad', '{fine}'), (2, 'fine', '{sad}')",
            "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
            "INSERT INTO t VALUES (3, 'blue', '{blue}')",
        ),
        "column m's enum was renamed",
    ),
    "a value of an enum is renamed, which is the key": Case(
        (
            "CREATE TYPE mood AS ENUM ('sad', 'fine')",
            "CREATE TABLE t (m mood PRIMARY KEY, n int)",
            "INSERT INTO t VALUES ('sad', 1), ('fine', 2)",
            "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
        ),
        "column m's enum was renamed",
    ),
    "an attribute of a composite type is dropped": Case(
        (
            "CREATE TYPE pair AS (a int, b int)",
            "CREATE TABLE t (p pair, n int)",
            "INSERT INTO t VALUES ('(1,2)', 1)",
            "ALTER TYPE pair DROP ATTRIBUTE b",
        ),
        "the type of column p was altered",
    ),
    "an attribute of a composite type is renamed": Case(
        (
            "CREATE TYPE pair AS (a int, b int)",
            "CREATE TABLE t (p pair, n int)",
            "INSERT INTO t VALUES ('(1,2)', 1)",
            "ALTER TYPE pair RENAME ATTRIBUTE b TO c",
        ),
        None,
    ),
    "a table that was dropped and made anew": Case(
        (
            "CREATE TABLE t (id int PRIMARY KEY, a text)",
            "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
            "DROP TABLE t",
            "CREATE TABLE t (id int PRIMARY KEY, a text)",
            "INSERT INTO t VALUES (2, 'z')",
        ),
        "DROP TABLE sends no event",
    ),
    "a table that was dropped and made anew with other columns": Case(
        (
            "CREATE TABLE t (id int PRIMARY KEY, a text)",
            "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
            "DROP TABLE t",
            "CREATE TABLE t (b int, a int, id uuid)",
            "INSERT INTO t VALUES (3, 4)",
        ),
        "DROP TABLE sends no event",
    ),
    "a table that was dropped": Case(
        ("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "DROP TABLE t"), "does not exist any more"
    ),
    "a table that was renamed": Case(
        ("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "ALTER TABLE t RENAME TO u"),
        "it was renamed",
        "public.u",
    ),
    "a table that is not in the log any more": Case(
        ("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "ALTER TABLE t SET UNLOGGED"),
        "not published any more",
    ),
    "a generated column in the key": Case(
        (
            "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (a, b))",
            FULL,
            "INSERT INTO t VALUES (1), (2), (3)",
        ),
        None,
    ),
    "names that change": Case(
        (
            "CREATE TABLE other ()",
            "CREATE TABLE t (id int PRIMARY KEY, r regclass)",
            "INSERT INTO t VALUES (1, 'other')",
            "ALTER TABLE other RENAME TO another",
        ),
        "column r shows names",
    ),
    "a char with a high bit": Case(
        (
            'CREATE TABLE t (id int PRIMARY KEY, c "char")',
            """INSERT INTO t VALUES (1, 'a'), (2, (200 - 256)::"char")""",
        ),
        None,
    ),
    "a cast that belongs to nobody": Case(
        (
            "CREATE CAST (bytea AS text) WITHOUT FUNCTION",
            r"CREATE TABLE t (id bytea PRIMARY KEY, b bytea)",
            r"INSERT INTO t VALUES ('\x01', '\x00ff'), ('\x02', '')",
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_no_event_tells_is_no_difference(world: World, name: str) -> None:
    case = CASES[name]
    if "high bit" in name and world.major < 16:
        pytest.skip("before 16 such a value is not UTF-8")
    await world.streaming(postgres_allow_missing_identity="true")
    for statement in case.statements:
        world.sql(statement)
    result = await check(world)
    assert result.differences == []
    reasons = [each.reason for each in result.unjudged if each.table == case.table]
    if case.reason is None:
        assert result.unjudged == []
    else:
        assert any(case.reason in reason for reason in reasons), result.unjudged
    assert not any(each.is_obstacle for each in result.unjudged)


ROOT = "CREATE TABLE t (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"


async def test_partitions_that_come_and_go_under_their_root(world: World) -> None:
    world.sql(
        ROOT,
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES WITH (publish_via_partition_root = true)",
    )
    await world.streaming()
    world.sql(
        "INSERT INTO t VALUES (1, 1), (2, 2), (3, 11)",
        "CREATE TABLE t3 (LIKE t)",
        "ALTER TABLE t3 REPLICA IDENTITY FULL",
        "INSERT INTO t3 VALUES (4, 21)",
        "ALTER TABLE t ATTACH PARTITION t3 FOR VALUES FROM (20) TO (30)",
    )
    if world.major >= 15:  # 14 may go on under the partition's own name
        world.sql("INSERT INTO t VALUES (5, 22)")
    result = await check(world)
    assert result.differences == []
    reasons = [str(each) for each in result.unjudged if each.table == "public.t"]
    assert reasons == ["public.t: public.t3 was attached as a partition when it had rows"]
    world.sql("DROP TABLE t2")
    result = await check(world)
    assert [str(each) for each in result.differences] == ["public.t (id, at) = (3, 11): extra row"]
    assert any("detached or dropped" in note and "public.t" in note for note in result.notes)


class Loss(NamedTuple):
    """Statements, of which the events of one are taken out of the stream, and the difference that this makes."""

    before: tuple[str, ...]
    lost: str
    after: tuple[str, ...]
    difference: str


LOSSES = {
    "in a column that becomes NOT NULL": Loss(
        ("CREATE TABLE t (id int PRIMARY KEY, a int)", "INSERT INTO t VALUES (1, 1)"),
        "UPDATE t SET a = 2",
        ("ALTER TABLE t ALTER a SET NOT NULL",),
        "public.t (id) = (1): different values in a",
    ),
    "in a row that ALTER TABLE has written anew": Loss(
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int)",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
            "ALTER TABLE t ALTER a TYPE text USING 'n' || a",
        ),
        "UPDATE t SET a = 'x' WHERE id = 2",
        (),
        "public.t (id) = (2): different values in a",
    ),
    "in a row that came before a column": Loss(
        ("CREATE TABLE t (id int PRIMARY KEY, a int)", "INSERT INTO t VALUES (1, 1)"),
        "UPDATE t SET a = 2",
        ("ALTER TABLE t ADD b int DEFAULT 5",),
        "public.t (id) = (1): different values in a",
    ),
    "after a value of an enum was renamed": Loss(
        (
            "CREATE TYPE mood AS ENUM ('sad', 'fine')",
            "CREATE TABLE t (id int PRIMARY KEY, m mood)",
            "INSERT INTO t VALUES (1, 'sad'), (2, 'fine')",
            "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
        ),
        "UPDATE t SET m = 'blue' WHERE id = 2",
        (),
        "public.t (id) = (2): different values in m",
    ),
    "of a table that is younger than the publication": Loss(
        ("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO fence DEFAULT VALUES", "INSERT INTO t VALUES (1), (2)"),
        "DELETE FROM t WHERE id = 1",
        ("INSERT INTO t VALUES (3)",),
        "public.t (id) = (1): extra row",
    ),
    "of the youngest rows of a table that was made anew": Loss(
        (
            "CREATE TABLE t (id int PRIMARY KEY)",
            "INSERT INTO t VALUES (1), (2)",
            "DROP TABLE t",
            "CREATE TABLE t (id int PRIMARY KEY)",
            "INSERT INTO t VALUES (2), (3), (4)",
        ),
        "DELETE FROM t WHERE id = 3",
        (),
        "public.t (id) = (3): extra row",
    ),
    "after a new name": Loss(
        ("CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO u VALUES (1)", "ALTER TABLE u RENAME TO t"),
        "INSERT INTO t VALUES (2)",
        (),
        "public.t (id) = (2): missing row",
    ),
    "of a table without a key whose columns change": Loss(
        (
            "CREATE TABLE t (a int)",
            FULL,
            "INSERT INTO fence DEFAULT VALUES",
            "INSERT INTO t VALUES (1), (2)",
        ),
        "DELETE FROM t WHERE a = 1",
        ("ALTER TABLE t ADD b int", "UPDATE t SET b = 3"),
        "extra row",
    ),
    "of the first rows of a serial column": Loss(
        ("CREATE TABLE t (a int)", FULL, "INSERT INTO fence DEFAULT VALUES", "INSERT INTO t VALUES (1)"),
        "INSERT INTO t VALUES (2)",
        ("ALTER TABLE t ADD id serial PRIMARY KEY",),
        "public.t (id) = (2): missing row",
    ),
}


@pytest.mark.parametrize("name", LOSSES)
async def test_a_loss_is_a_difference_all_the_same(world: World, name: str) -> None:
    loss = LOSSES[name]
    await world.streaming(postgres_allow_missing_identity="true")
    world.sql(*loss.before)
    await world.fence()
    first = (await world.info()).state.last_seq + 1
    world.sql(loss.lost)
    await world.fence()
    async with world.jetstream() as jetstream:
        for message in await world.messages():
            if message.sequence >= first and message.subject.endswith("_t"):
                await jetstream.delete_msg(world.stream, message.sequence)
    world.sql(*loss.after)
    result = await check(world)
    assert any(loss.difference in str(difference) for difference in result.differences), result
