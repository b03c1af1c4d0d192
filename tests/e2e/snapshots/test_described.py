"""A table as a snapshot describes it: equal to the Relation that pgoutput sends; and the tables that are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import conninfo

from ditto.errors import SnapshotRefused, TableLocked
from e2e.standby import SLOT, make_standby

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.snapshots.database import Database

TYPES = (
    "CREATE SCHEMA app",
    "CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy')",
    "CREATE DOMAIN app.email AS varchar(80) CHECK (value LIKE '%@%')",
    "CREATE DOMAIN app.work_email AS app.email",
    "CREATE DOMAIN app.moody AS app.mood",
    "CREATE TYPE app.pair AS (a int, b text)",
    "CREATE TYPE app.span AS RANGE (subtype = int4)",
)
# By table: its definition, and a row.
ZOO = {
    "plain": ("(id int PRIMARY KEY, a text, b numeric(10,2), c varchar(7)[], d timestamptz(3))", "1, 'x'"),
    "no_key": ("(a int, b text)", "1, 'x'"),
    "types": (
        "(id bigint PRIMARY KEY, m app.mood, e app.email, w app.work_email, x app.moody, p app.pair, s app.span, "
        "ms app.mood[], es app.email[], card information_schema.cardinal_number)",
        "1",
    ),
    "composite": ("(b text, a int, v text, PRIMARY KEY (a, b))", "'x', 1, 'v'"),
    "included": ("(a int NOT NULL, b int, UNIQUE (a) INCLUDE (b))", "1, 2"),
    "full_identity": ("(id int PRIMARY KEY, a text)", "1, 'x'"),
    "nothing": ("(id int PRIMARY KEY, a text)", "1, 'x'"),
    "by_index": ("(id int PRIMARY KEY, a int NOT NULL, b int NOT NULL)", "1, 2, 3"),
    "deferrable": ("(id int PRIMARY KEY DEFERRABLE, a text)", "1, 'x'"),
    "generated": ("(id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED, z text)", "1, 2"),
    "dropped": ("(gone int, id int PRIMARY KEY, gone2 text, a char(5))", "1, 2, 'x', 'y'"),
    'Über "quoted"': ('("Id ""x" int PRIMARY KEY, "ä.b" text, "%s" int)', "1, 'x', 2"),
    "parent": ("(id int PRIMARY KEY, a text)", "1, 'x'"),
    "child": ("(b int) INHERITS (parent)", "2, 'y', 3"),
    "nameless": ("()", None),
}
AFTERWARDS = (
    "ALTER TABLE full_identity REPLICA IDENTITY FULL",
    "ALTER TABLE nothing REPLICA IDENTITY NOTHING",
    "CREATE UNIQUE INDEX other ON by_index (b, a)",
    "ALTER TABLE by_index REPLICA IDENTITY USING INDEX other",
    "ALTER TABLE dropped DROP gone, DROP gone2, ADD later int DEFAULT 7",
)
PARTITIONS = (
    "CREATE TABLE p (region text, id int, a text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)",
    "CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu')",
    "CREATE TABLE p_us PARTITION OF p FOR VALUES IN ('us') PARTITION BY RANGE (id)",
    "CREATE TABLE p_us_1 PARTITION OF p_us FOR VALUES FROM (0) TO (1000)",
    "CREATE TABLE p_jp (gone int, a text, id int NOT NULL, region text NOT NULL, PRIMARY KEY (id, region))",
    "ALTER TABLE p_jp DROP gone",
    "ALTER TABLE p ATTACH PARTITION p_jp FOR VALUES IN ('jp')",
)
INTO_PARTITIONS = "INSERT INTO p SELECT (ARRAY['eu', 'us', 'jp'])[n % 3 + 1], n, 'x' || n FROM generate_series(1, 50) n"


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def create_zoo(database: Database) -> None:
    database.sql(*TYPES)
    database.sql(*(f"CREATE TABLE {quote(name)} {definition}" for name, (definition, _) in ZOO.items()))


def fill_zoo(database: Database) -> None:
    for name, (_, values) in ZOO.items():
        database.sql(f"INSERT INTO {quote(name)} " + ("DEFAULT VALUES" if values is None else f"VALUES ({values})"))


async def test_each_relation_is_the_one_of_pgoutput(database: Database) -> None:
    create_zoo(database)
    database.publish()
    fill_zoo(database)
    for statement in AFTERWARDS:
        database.sql(statement)
    fill_more = [f"INSERT INTO {name} VALUES ({values})" for name, values in MORE.items()]
    database.sql(*fill_more)
    sent = database.relations()
    assert len(sent) == len(ZOO)
    async with database.reader() as reader:
        for schema, name in sent:
            table = await reader.describe("pub", schema, name)
            assert table.relation == sent[schema, name]
            assert len(table.key) == len(table.key_columns)
        keys = {name: (await reader.describe("pub", "public", name)).key for name in ZOO}
    assert keys == {
        "plain": (0,),
        "no_key": (),
        "types": (0,),
        "composite": (1, 0),
        "included": (),
        "full_identity": (0,),
        "nothing": (0,),
        "by_index": (2, 1),
        "deferrable": (),
        "generated": (0,),
        "dropped": (0,),
        'Über "quoted"': (0,),
        "parent": (0,),
        "child": (),
        "nameless": (),
    }


# After the ALTER TABLEs: pgoutput sends the Relation again with the next row.
MORE = {
    "full_identity": "2, 'x'",
    "nothing": "2, 'x'",
    "by_index": "2, 4, 3",
    "dropped": "3, 'y', 1",
}


async def test_partitions_under_their_own_names(database: Database) -> None:
    database.sql(*PARTITIONS)
    database.publish()
    database.sql(INTO_PARTITIONS)
    sent = database.relations()
    assert set(sent) == {("public", name) for name in ("p_eu", "p_us_1", "p_jp")}
    async with database.reader() as reader:
        for schema, name in sent:
            assert (await reader.describe("pub", schema, name)).relation == sent[schema, name]
        for root in ("p", "p_us"):
            with pytest.raises(SnapshotRefused, match="under the names of its partitions") as caught:
                await reader.describe("pub", "public", root)
            assert "public.p_us_1" in str(caught.value.hint)


@pytest.mark.parametrize("member", ["p", "p_us"])
async def test_partitions_under_the_root(database: Database, member: str) -> None:
    database.sql(*PARTITIONS)
    database.publish(f"FOR TABLE {member} WITH (publish_via_partition_root)")
    database.sql(INTO_PARTITIONS)
    sent = database.relations()  # those of the partitions, too, of which no row comes
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", member)
        assert table.relation == sent["public", member]
        assert table.key == (1, 0)
        with pytest.raises(SnapshotRefused, match=rf"under the name public\.{member}"):
            await reader.describe("pub", "public", "p_us_1")


async def test_a_column_list_and_a_row_filter(database: Database) -> None:
    if database.major < 15:
        pytest.skip("PostgreSQL 15 is the first with these")
    database.sql(*PARTITIONS, "CREATE TABLE t (id int PRIMARY KEY, a text, b int)")
    database.publish("FOR TABLE t (b, id) WHERE (id > 5 AND b <> 7), p, p_eu WHERE (id > 3)")
    database.sql("INSERT INTO t VALUES (9, 'x', 2)", INTO_PARTITIONS)
    sent = database.relations()
    async with database.reader() as reader:
        described = {name: await reader.describe("pub", schema, name) for schema, name in sent}
        for schema, name in sent:
            assert described[name].relation == sent[schema, name]
        assert [column.name for column in described["t"].relation.columns] == ["id", "b"]
        assert "id > 5" in described["t"].condition
        # Without publish_via_partition_root, only what is said of the partition itself counts.
        assert "id > 3" in described["p_eu"].condition
        assert described["p_jp"].condition == ""
    database.sql(
        "ALTER PUBLICATION pub SET (publish_via_partition_root)",
        "ALTER PUBLICATION pub SET TABLE p (region, id) WHERE (id < 9), p_eu (id, region) WHERE (id > 3)",
    )
    async with database.reader() as reader:
        root = await reader.describe("pub", "public", "p")
    assert "id < 9" in root.condition
    assert [column.name for column in root.relation.columns] == ["region", "id"]


async def test_generated_columns_as_published(database: Database) -> None:
    if database.major < 18:
        pytest.skip("PostgreSQL 18 is the first that publishes generated columns")
    database.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED, "
        "v int GENERATED ALWAYS AS (a * 3) VIRTUAL)"
    )
    database.publish("FOR TABLE t WITH (publish_generated_columns = stored)")
    database.sql("INSERT INTO t VALUES (1, 2)")
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
    assert table.relation == database.relations()["public", "t"]
    assert [column.name for column in table.relation.columns] == ["id", "a", "g"]


async def test_a_schema_is_published(database: Database) -> None:
    if database.major < 15:
        pytest.skip("PostgreSQL 15 is the first with these")
    database.sql("CREATE SCHEMA app", "CREATE TABLE app.t (id int PRIMARY KEY)", "CREATE TABLE t (id int)")
    database.publish("FOR TABLES IN SCHEMA app")
    async with database.reader() as reader:
        assert (await reader.describe("pub", "app", "t")).key == (0,)
        with pytest.raises(SnapshotRefused, match="publication pub does not contain it"):
            await reader.describe("pub", "public", "t")


async def test_refusals(database: Database) -> None:
    role = f"reader_{database.name}"
    database.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a text)",
        "CREATE TABLE hidden (id int PRIMARY KEY)",
        "CREATE TABLE secure (id int PRIMARY KEY)",
        "CREATE UNLOGGED TABLE fleeting (id int)",
        "CREATE VIEW v AS SELECT 1 AS a",
        "CREATE SCHEMA closed",
        "CREATE TABLE closed.t (id int)",
        "ALTER TABLE secure ENABLE ROW LEVEL SECURITY",
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT ON t, secure, closed.t TO {role}",
    )
    database.publish()
    dsn = conninfo.make_conninfo(database.dsn, user=role)
    async with database.reader(dsn) as reader:
        cases = {
            ("public", "nowhere"): ("there is no such table", "dropped"),
            ("public", "v"): ("it is a view", "PostgreSQL sends no changes"),
            ("public", "fleeting"): ("unlogged", "PostgreSQL sends no changes"),
            ("public", "hidden"): ("may not read it", f'GRANT SELECT ON "public"."hidden" TO "{role}"'),
            ("closed", "t"): ("may not use its schema", f'GRANT USAGE ON SCHEMA "closed" TO "{role}"'),
            ("public", "secure"): ("row-level security", f'ALTER ROLE "{role}" BYPASSRLS'),
        }
        for (schema, name), (reason, hint) in cases.items():
            with pytest.raises(SnapshotRefused, match=reason) as caught:
                await reader.describe("pub", schema, name)
            assert hint in str(caught.value.hint)
            assert f"{schema}.{name}" in str(caught.value)
        with pytest.raises(SnapshotRefused, match="publication other does not exist"):
            await reader.describe("other", "public", "t")
        assert (await reader.describe("pub", "public", "t")).key == (0,)
    for statement in (f"GRANT SELECT ON hidden TO {role}", f"GRANT USAGE ON SCHEMA closed TO {role}"):
        database.sql(statement)
    database.sql(f"ALTER ROLE {role} BYPASSRLS")
    async with database.reader(dsn) as reader:
        for schema, name in (("public", "hidden"), ("closed", "t"), ("public", "secure")):
            await reader.describe("pub", schema, name)


async def test_every_change_of_a_table_changes_its_fingerprint(database: Database) -> None:
    database.sql(
        *PARTITIONS, "CREATE TABLE t (id int PRIMARY KEY, a text, b text NOT NULL UNIQUE)", "CREATE TABLE u ()"
    )
    database.publish("FOR TABLE t, p WITH (publish_via_partition_root)")
    changes = [
        ("t", "TRUNCATE t"),
        ("t", "ALTER TABLE t ADD c int"),
        ("t", "ALTER TABLE t RENAME a TO aa"),
        ("t", "ALTER TABLE t ALTER aa TYPE varchar(10)"),
        ("t", "ALTER TABLE t DROP c"),
        ("t", "ALTER TABLE t REPLICA IDENTITY FULL"),
        ("t", "ALTER TABLE t REPLICA IDENTITY USING INDEX t_b_key"),
        ("t", "VACUUM FULL t"),
        ("t", "ALTER PUBLICATION pub SET (publish = 'insert, update')"),
        ("p", "TRUNCATE p_us_1"),
        ("p", "ALTER TABLE p DETACH PARTITION p_jp"),
        ("p", "ALTER TABLE p ADD c int"),
    ]
    if database.major >= 15:
        changes += [
            ("t", "ALTER PUBLICATION pub SET TABLE t (id, b), p"),
            ("t", "ALTER PUBLICATION pub SET TABLE t (id, b) WHERE (b > 'k'), p"),
        ]
    async with database.reader() as reader:
        for name, statement in changes:
            before = await reader.describe("pub", "public", name)
            again = await reader.describe("pub", "public", name)
            assert before.fingerprint == again.fingerprint
            database.sql(statement)
            assert (await reader.describe("pub", "public", name)).fingerprint != before.fingerprint, statement
        before = await reader.describe("pub", "public", "t")
        database.sql("INSERT INTO t (id, b) VALUES (1, 'x')", "CREATE INDEX ON t (b, id)", "ALTER TABLE u ADD a int")
        assert (await reader.describe("pub", "public", "t")).fingerprint == before.fingerprint


async def test_a_lock_is_waited_for(database: Database) -> None:
    database.sql("CREATE TABLE t (id int PRIMARY KEY)")
    database.publish()
    told: list[str] = []
    async with database.reader() as reader:
        with database.connect() as holder:
            holder.execute("LOCK TABLE t")
            with pytest.raises(TableLocked):
                await reader.describe("pub", "public", "t", patience_s=0)

            def tell(blockers: object) -> None:
                told.append(", ".join(each.text for each in blockers))  # type: ignore[attr-defined]
                holder.rollback()

            assert (await reader.describe("pub", "public", "t", tell=tell)).key == (0,)
            pid = holder.info.backend_pid
    assert told[0].startswith(f"PID {pid} (idle in transaction), open for")
    assert told[-1] == ""


async def test_the_estimate(database: Database) -> None:
    database.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    database.publish()
    database.sql("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 5000) n", "ANALYZE t")
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
    assert 4500 < table.estimated_rows < 5500
    assert 90 < table.estimated_row_bytes < 120


async def test_partitions_that_differ_from_their_root(database: Database) -> None:
    """The old row of a change is told by the partition's own identity: it has to have the root's key."""
    database.sql(*PARTITIONS, "CREATE TABLE q (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    database.sql("CREATE UNLOGGED TABLE q_1 PARTITION OF q FOR VALUES FROM (0) TO (9)")
    database.publish("FOR TABLE p, q WITH (publish_via_partition_root)")
    async with database.reader() as reader:
        database.sql("ALTER TABLE p_eu REPLICA IDENTITY FULL")
        assert (await reader.describe("pub", "public", "p")).key == (1, 0)
        database.sql(
            "ALTER TABLE p_jp ALTER a SET NOT NULL",
            "CREATE UNIQUE INDEX own ON p_jp (a)",
            "ALTER TABLE p_jp REPLICA IDENTITY USING INDEX own",
        )
        assert (await reader.describe("pub", "public", "p")).key == ()
        with pytest.raises(SnapshotRefused, match=r"its partition public\.q_1 is a foreign or unlogged table"):
            await reader.describe("pub", "public", "q")


async def test_a_standby_is_refused(database: Database, tmp_path: Path) -> None:
    if database.major < 17:
        pytest.skip("the standby of the tests has settings of PostgreSQL 17")
    database.sql("CREATE TABLE t (id int PRIMARY KEY)")
    database.publish()
    world: Any = SimpleNamespace(postgres=database.server)
    standby = make_standby(world, tmp_path / "standby")
    standby.settings.update(database.server.settings)  # not lower than the primary's
    with standby:
        dsn = conninfo.make_conninfo(database.dsn, port=str(standby.port))
        async with database.reader(dsn) as reader:
            with pytest.raises(SnapshotRefused, match="a snapshot has to write markers"):
                await reader.describe("pub", "public", "t")
    database.sql(f"SELECT pg_drop_replication_slot('{SLOT}')")
