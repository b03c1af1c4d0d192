"""Rules beside snapshots, reloads, partitions and the catalogue."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from ditto.source.snapshot_table import describe_table
from ditto.source.sql import open_control
from ditto.source.table_relations import read_relations
from e2e.process import eventually
from e2e.rules.sent import sent

if TYPE_CHECKING:
    from e2e.world import World

FENCE = {"fence": ["insert"]}


async def test_a_snapshot_of_a_table_whose_key_is_hidden_keeps_nothing_of_the_key(world: World) -> None:
    world.sql("CREATE TABLE people (email text PRIMARY KEY, n int)")
    world.sql("INSERT INTO people SELECT 'person' || n || '@example.com', n FROM generate_series(1, 30) AS n")
    rules = {"columns": {"mask": {"email": {"hash": "hmac-sha256", "key": "sesame-key"}}}}
    process = await world.streaming(
        events_tables={"people": rules} | FENCE,
        snapshot_mode="initial",
        snapshot_chunk_rows=10,
        snapshot_tables=["people"],
    )
    await eventually(lambda: '"snapshot.finished"' in process.output, "the snapshot is done")
    messages = [each.payload for each in await world.messages()]
    assert sum(b'"READ"' in each for each in messages) == 30
    assert not [each for each in messages if b"cursor" in each or b"person" in each]


async def test_partitions_have_the_rules_of_the_name_under_which_they_come(world: World) -> None:
    world.sql(
        "CREATE TABLE p (id int, region text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)",
        "CREATE TABLE p_north PARTITION OF p FOR VALUES IN ('north')",
        f"CREATE PUBLICATION {world.name} FOR TABLE p, fence WITH (publish_via_partition_root)",
    )
    rules = {"actions": ["insert", "delete"], "columns": {"exclude": ["note"]}, "subject": "{prefix}.p.{data.region}"}
    await world.streaming(events_tables={"p": rules} | FENCE)
    world.sql("INSERT INTO p VALUES (1, 'north', 'x')", "DELETE FROM p")
    found = await sent(world)
    assert [each.subject for each in found] == [f"{world.name}.p.north"] * 2
    assert json.loads(found[0].payload)["data"] == {"id": 1, "region": "north"}


TABLES = [
    "plain (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz, tags text[])",
    "full_one (id int PRIMARY KEY, name varchar(20))",
    "nothing (id int)",
    'odd ("a b" int, "c.""d" text, mood public.mood, moods public.mood[], posint public.posint, made int '
    "GENERATED ALWAYS AS (1) STORED)",
    "by_index (a int NOT NULL, b int NOT NULL, c text)",
    "parted (id int PRIMARY KEY, n int) PARTITION BY HASH (id)",
]


@pytest.mark.parametrize("publication", ["FOR ALL TABLES", "FOR TABLE plain, full_one, nothing, odd, by_index, parted"])
async def test_the_catalogue_gives_the_relations_that_pgoutput_sends(world: World, publication: str) -> None:
    world.sql(
        "CREATE TYPE public.mood AS ENUM ('sad', 'happy')",
        "CREATE DOMAIN public.posint AS int CHECK (value > 0)",
        *(f"CREATE TABLE {each}" for each in TABLES),
        "CREATE TABLE part PARTITION OF parted FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "ALTER TABLE full_one REPLICA IDENTITY FULL",
        "CREATE UNIQUE INDEX by_index_b ON by_index (b)",
        "ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_b",
        "ALTER TABLE plain DROP COLUMN at",
        f"CREATE PUBLICATION {world.name} {publication} WITH (publish_via_partition_root)",
    )
    names = [("public", each.split()[0]) for each in TABLES]
    async with open_control(world.dsn) as control:
        found = await read_relations(control, world.name, [*names, ("public", "gone"), ("no", "schema")])
        assert [each.relation.name for each in found] == [name for _, name in names]
        for each in found:
            described = await describe_table(control, world.name, "public", each.relation.name)
            assert each.relation == described.relation
    toasted = {each.relation.name: set(each.toasted) for each in found}
    assert toasted["plain"] == {"name", "tags"}


async def test_lists_of_columns_are_those_of_the_relation(world: World) -> None:
    if world.major < 15:
        pytest.skip("lists of columns came with PostgreSQL 15")
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text)",
        f"CREATE PUBLICATION {world.name} FOR TABLE t (id, b), fence",
    )
    async with open_control(world.dsn) as control:
        (found,) = await read_relations(control, world.name, [("public", "t")])
        assert [column.name for column in found.relation.columns] == ["id", "b"]
    process = world.ditto(events_tables={"t": {"columns": {"exclude": ["a"]}}} | FENCE)
    assert await process.ended() == 2
    assert "names the column a, which table public.t does not have" in process.output


async def test_a_reload_checks_rules(world: World, tmp_path: Any) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    file = tmp_path / "ditto.json"

    def write(rules: Any) -> None:
        file.write_text(json.dumps({"events": {"tables": {"t": rules} | FENCE}}))

    write({"columns": {"exclude": ["name"]}})
    process = await world.streaming(config=str(file))
    world.sql("INSERT INTO t VALUES (1, 'a')")
    write({"columns": {"exclude": ["nam"]}})
    process.send(signal.SIGHUP)
    refused = await process.logged("reload.refused")
    assert "names the column nam" in refused["reason"]
    write({"columns": {"mask": {"name": {"constant": "-"}}}})
    process.send(signal.SIGHUP)
    await process.logged("reload.applied")
    world.sql("INSERT INTO t VALUES (2, 'b')")
    assert [each.event["data"] for each in await world.events()] == [{"id": 1}, {"id": 2, "name": "-"}]
