"""What `ditto check` prints is entered as it stands, with names that a shell or a server may take for something."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ditto.check.run import run_checks
from ditto.config import load
from ditto.hints import identifier, nats_command
from e2e.setup.test_check import check
from e2e.shell import TOOLS, Shell, open_shell

if TYPE_CHECKING:
    from ditto.check.finding import Finding
    from e2e.world import World

# Each would leave a file in the shell's folder, or be an error, where it is not quoted.
NAMES = [
    "x';touch a;'",
    '"$(touch b)"',
    "`touch c` & touch d",
    "a, b",
    "comma,only",
    "back\\slash{{.Count}}",
    "'); DROP TABLE fence; --",
    "new\nline\ttab",
]
STREAM = "S'$(touch${IFS}e)\";`touch`&|<"
PUBLICATION = "p'\"; DROP TABLE fence; --"


@pytest.fixture
def hostile(nats_world: World) -> World:
    """Everything that has a name has a hostile one; a slot's cannot be."""
    world = nats_world
    world.sql(*(f"CREATE TABLE {identifier(name)} (id int PRIMARY KEY, note text)" for name in NAMES))
    world.stream = STREAM + world.name
    world.settings |= {"DITTO_NATS_STREAM": world.stream, "DITTO_POSTGRES_PUBLICATION": PUBLICATION}
    return world


async def enter(world: World, shell: Shell, finding: Finding) -> None:
    """Do what the finding says, where it says."""
    assert finding.level in {"warning", "error"}, finding
    assert finding.fix, finding
    assert all(sign.isprintable() or sign == "\n" for sign in finding.fix), "a terminal would not show it as it is"
    if finding.fix_in == "psql":
        world.sql(*finding.fix.splitlines())
    else:
        assert finding.fix_in == "shell"
        await shell.run(finding.fix)


async def all_is_stored(world: World, shell: Shell, **settings: Any) -> None:
    """Ditto streams, every table's change arrives, and the stream replayed is the tables."""
    ditto = await world.streaming(**settings)
    world.sql(*(f"INSERT INTO {identifier(name)} VALUES (1, 'x')" for name in NAMES))
    await world.fence()
    events = [message.event for message in await world.messages() if not message.subject.endswith("_checkpoint")]
    assert {event["table"] for event in events} == {*NAMES, "fence"}
    assert not ditto.logs("lease.unavailable")
    assert await ditto.stop() == 0
    await shell.run("ditto verify")


@pytest.mark.parametrize("tool", TOOLS)
async def test_everything_is_missing_and_may_not_be_created(hostile: World, tool: str) -> None:
    world, shell = hostile, open_shell(hostile, tool)
    only_by_hand = {"postgres_create": "false", "nats_create": "false"}
    found = await check(world, **only_by_hand)
    for name in ("publication.exists", "slot.exists"):
        await enter(world, shell, found[name])
    found = await check(world, **only_by_hand)
    assert "stream.tail" not in found, "that there is no stream has been said"
    await enter(world, shell, found["stream.exists"])
    # Of a bucket that is missing a running Ditto says which command makes it.
    ditto = await world.streaming(**only_by_hand)
    warning = await ditto.logged("lease.unavailable")
    await ditto.stop()
    await shell.run(warning["hint"].partition("create it: ")[2].partition("; ")[0])
    found = await check(world, **only_by_hand)
    assert {name: each for name, each in found.items() if each.level == "error"} == {}
    await all_is_stored(world, shell, **only_by_hand)


@pytest.mark.long
@pytest.mark.parametrize("tool", TOOLS)
async def test_a_stream_that_others_made_lacks_subjects_and_drops_messages(hostile: World, tool: str) -> None:
    world, shell = hostile, open_shell(hostile, tool)
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(
            name=world.stream,
            subjects=[world.fence_subject],
            max_msgs=20,
            max_msgs_per_subject=5,
            discard="old",
            max_age=3600,
            max_msg_size=2048,
            retention="interest",
        )
    world.sql("CREATE TABLE wide (id int PRIMARY KEY, note text)")
    world.sql("INSERT INTO wide SELECT n, repeat('x', 1500) FROM generate_series(1, 50) AS n", "ANALYZE wide")
    found = await check(world)
    for name in ("subjects", "discard", "max_age", "max_msgs_per_subject", "retention"):
        await enter(world, shell, found[f"stream.{name}"])
    await enter(world, shell, found["nats.max_payload"])
    world.sql("DROP TABLE wide")
    async with world.jetstream() as jetstream:
        for _ in range(19):
            await jetstream.publish(world.fence_subject, b"not Ditto's")
    found = await check(world)
    await enter(world, shell, found["stream.max_msgs"])
    assert "nats" in found["stream.writers"].why
    found = await check(world)
    wrong = [name for name, finding in found.items() if name.startswith("stream.") and finding.level != "ok"]
    assert wrong == ["stream.writers"], "which nobody can fix but the other writer"
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream)
    unlimited = ("stream", "edit", world.stream, "--max-msgs=-1", "--force")
    await shell.run(nats_command(load(None, {}, world.settings).nats, *unlimited))
    await all_is_stored(world, shell)


async def test_a_publication_that_lacks_tables_and_identities(hostile: World) -> None:
    world, shell = hostile, open_shell(hostile, "shim")
    bare = "b'a\"r;e $(touch f)"
    rooted = "r'o\"ot; $(touch g)"
    world.sql(
        f"CREATE TABLE {identifier(bare)} (id int)",
        f"CREATE TABLE {identifier(rooted)} (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        f"CREATE TABLE part PARTITION OF {identifier(rooted)} FOR VALUES FROM (0) TO (10)",
        f"CREATE PUBLICATION {identifier(PUBLICATION)} FOR TABLE {identifier(bare)} WITH (publish = 'insert, update')",
    )
    chosen = [*NAMES, bare, rooted, "fence"]
    tables = {name.replace("[", "[[]"): ["insert", "delete"] for name in chosen if "*" not in name and "." not in name}
    for _ in range(2):  # plain tables, then partitioned ones
        findings = await run_checks(load(None, {}, {**world.settings, "DITTO_EVENTS_TABLES": json.dumps(tables)}))
        for finding in findings:
            if finding.level != "ok" and finding.fix_in == "psql" and not finding.check.startswith("server."):
                await enter(world, shell, finding)
    found = await check(world, events_tables=tables)
    for name in ("publication.tables", "publication.actions", "tables.identity"):
        assert found[name].level == "ok", found[name]


async def test_a_misspelt_table_is_named_as_the_configuration_needs_it(hostile: World) -> None:
    world = hostile
    name = "x';touch a;'"
    found = (await check(world, events_tables={"x';touch a;": ["insert"], "fence": ["insert"]}))["tables.exist"]
    assert found.fix_in == "configuration"
    assert yaml.safe_load(found.fix or "") == {"events": {"tables": {name: ["insert"]}}}
