"""NATS permissions: what docs/operations.md lists is enough for every command, and each one that is missing is said."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import ditto
from ditto.lsn import parse_lsn
from ditto.testing.servers import NatsServer
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World

ROOT = Path(ditto.__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text()
SECTION = PAGE.split("## NATS permissions")[1].split("\n## ")[0]
BLOCK = SECTION.split("```")[1]
PUBLISH = re.findall(r'"([^"]+)"', BLOCK.split("subscribe:")[0])
SUBSCRIBE = re.findall(r'"([^"]+)"', BLOCK.split("subscribe:")[1])
ROWS = re.findall(r"^\| (?P<what>[^|]+?) \| (?P<who>[^|]+?) \| (?P<without>[^|]+?) \|$", SECTION, re.MULTILINE)[1:]
USER = {"nats_user": "ditto", "nats_password": "secret"}
COMMANDS = ("tail", "verify", "status", "check", "wait")


class Ended(NamedTuple):
    code: int
    output: str


def documented(world: World) -> list[str]:
    """What the page lists to be published, for this world's stream, prefix and table."""
    return [subject_for(world, subject) for subject in PUBLISH if subject != "ditto_public_accounts"]


def subject_for(world: World, subject: str) -> str:
    changed = re.sub(r"\bDITTO\b", world.stream, subject).replace("ditto_public_trades", world.fence_subject)
    return changed.replace("ditto.>", f"{world.name}.>")


@contextmanager
def limited(world: World, folder: Path, *, publish: list[str], subscribe: list[str] = SUBSCRIBE) -> Iterator[World]:
    """The world with a nats-server whose user has these permissions."""

    def listed(subjects: list[str]) -> str:
        return "[" + ", ".join(f'"{subject}"' for subject in subjects) + "]"

    permissions = f"{{ publish: {listed(publish)}, subscribe: {listed(subscribe)} }}"
    # The other user makes what is needed before, and may do everything.
    users = f'{{ user: ditto, password: "secret", permissions: {permissions} }}, {{ user: all, password: "secret" }}'
    with NatsServer(folder / "limited", config=f"authorization {{ users: [{users}] }}") as server:
        before = world.settings["DITTO_NATS_URL"]
        world.settings["DITTO_NATS_URL"] = server.url
        yield world
        world.settings["DITTO_NATS_URL"] = before


async def command(world: World, *arguments: str, **settings: str) -> Ended:
    """Run it to its end, which has to come."""
    arguments = tuple(filter(None, arguments))
    given = {f"DITTO_{name.upper()}": value for name, value in {**USER, **settings}.items()}
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "ditto", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "COLUMNS": "300", "PYTHONPATH": str(ROOT), **world.settings, **given},
    )
    assert "unexpected" not in process.stdout
    return Ended(process.returncode, process.stdout)


async def commands(world: World) -> dict[str, Ended]:
    """Every command that looks at the stream."""
    lsn = world.value("SELECT pg_current_wal_lsn()::text")
    arguments = {
        "tail": ("tail", "--no-follow", "--last", "50000"),
        "wait": ("wait", lsn, "--timeout", "5s"),
        "check": ("check", "--all") if has_option("check", "--all") else ("check",),
    }
    ended = await asyncio.gather(*(command(world, *arguments.get(name, (name,))) for name in COMMANDS))
    return dict(zip(COMMANDS, ended, strict=True))


def has_option(name: str, option: str) -> bool:
    return option in (ROOT / "ditto" / "cli" / f"{name}.py").read_text()


def test_the_page_lists_the_same_permissions_twice() -> None:
    in_rows = {subject for what, _, _ in ROWS for subject in re.findall("`([^`]+)`", what)}
    assert in_rows == {*PUBLISH, *SUBSCRIBE} - {"ditto_public_accounts"}
    assert len(PUBLISH) == 15


async def test_what_is_documented_is_enough(world: World, tmp_path: Path) -> None:
    with limited(world, tmp_path, publish=documented(world)):
        # Before there is a stream, `check` asks who takes its subjects.
        assert "nats.servers" not in (first := await command(world, "check")).output
        assert "user ditto may not" not in first.output
        running = await world.streaming(**USER)
        world.sql("INSERT INTO fence DEFAULT VALUES")
        await running.logged("lease.bucket_created")
        for name, ended in (await commands(world)).items():
            assert ended.code == 0, (name, ended.output)
            assert "user ditto may not" not in ended.output, name
        assert await running.stop() == 0
        again = await world.streaming(**USER)
        assert await again.stop() == 0
        assert not again.logs("lease.unavailable")
        assert not running.logs("lease.unavailable")


async def test_an_inbox_of_its_own(world: World, tmp_path: Path) -> None:
    with limited(world, tmp_path, publish=documented(world), subscribe=["_INBOX_ditto.>"]):
        world.settings["DITTO_NATS_INBOX_PREFIX"] = "_INBOX_ditto"
        running = await world.streaming(**USER)
        world.sql("INSERT INTO fence DEFAULT VALUES")
        for name, ended in (await commands(world)).items():
            assert ended.code == 0, (name, ended.output)
        assert await running.stop() == 0


QUICK = "KV.ditto_leases.>"


@pytest.mark.parametrize(
    ("what", "who"),
    [
        pytest.param(what, who, id=what.strip("`"), marks=[] if QUICK in what else pytest.mark.long)
        for what, who, _ in ROWS
    ],
)
async def test_each_that_is_missing_is_said(world: World, tmp_path: Path, what: str, who: str) -> None:
    missing = subject_for(world, re.findall("`([^`]+)`", what)[0])
    names = {*COMMANDS, "run"} if who == "all" else set(who.split(", "))
    publish = [subject for subject in documented(world) if subject != missing]
    subscribe = ["nothing"] if missing in SUBSCRIBE else SUBSCRIBE  # with an empty list everything is allowed
    # The server names the subject that was published to.
    kind = "subscribe" if "INBOX" in missing else "publish"
    words = f"user ditto may not {kind} to {re.escape(missing.rstrip('.*>'))}"
    with limited(world, tmp_path, publish=publish, subscribe=subscribe):
        before = await command(world, "check")
        is_of_events = missing.endswith(f"MSG.GET.{world.stream}")  # of which there are none
        assert ("check" in names and not is_of_events) == bool(re.search(words, before.output))
        assert await is_said_by_run(world, words) == ("run" in names)
        everything = await world.streaming(nats_user="all", nats_password="secret")
        await is_stored(world, everything)
        for name, ended in (await commands(world)).items():
            # Of a stream with events, `check` does not ask who else takes its subjects, and nothing is to be created.
            is_unasked = name == "check" and ("NAMES" in missing or "STREAM.CREATE" in missing)
            if name not in names or "CONSUMER.DELETE" in missing or is_unasked:
                assert ended.code == 0, (name, ended.output)
                continue
            assert re.search(words, ended.output), (name, ended.output)
            assert ended.code == 4 or name in {"status", "check"}, (name, ended.output)
        assert await everything.stop() == 0


async def is_stored(world: World, running: DittoProcess) -> bool:
    """Commit a row, and wait until it is stored and confirmed; False where Ditto ends instead."""
    before = parse_lsn(world.value("SELECT pg_current_wal_insert_lsn()::text"))
    world.sql("INSERT INTO fence DEFAULT VALUES")
    await eventually(lambda: world.confirmed_lsn > before or not running.is_running, "it is stored, or Ditto ends")
    return running.is_running


async def starts(running: DittoProcess) -> bool:
    """Wait until it streams; False where it ends instead."""
    await eventually(lambda: bool(running.logs("pipeline.streaming")) or not running.is_running, "it starts or ends")
    return running.is_running


async def is_said_by_run(world: World, words: str) -> bool:
    """Whether `ditto run` ends with exit code 4, or says that it goes on without the lease, and names the subject: at
    its first start, at its first event, or at its second start.
    """
    for _ in range(2):
        running = world.ditto(**USER)
        if await starts(running) and await is_stored(world, running):
            if lacking := running.logs("lease.unavailable"):
                assert re.search(words, lacking[0]["reason"])
            assert await running.stop() == 0
            if lacking:
                return True
        if code := await running.ended():
            assert code == 4
            assert re.search(words, running.sentence())
            assert not running.logs("session.failed")
            return True
    return False


async def test_whoever_asks_for_a_snapshot_cannot_stop_a_ditto_that_may_not_publish_its_events(
    world: World, tmp_path: Path
) -> None:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)", "INSERT INTO trades VALUES (1)")
    allowed = [each for each in documented(world) if each != f"{world.name}.>"]
    allowed += [f"{world.name}._checkpoint", world.fence_subject, f"{world.name}_public_trades"]
    with limited(world, tmp_path, publish=allowed) as there:
        ditto = await there.streaming(**USER)
        there.sql('SELECT pg_logical_emit_message(true, \'ditto.snapshot\', \'{"start": [], "run": "r"}\')')
        await ditto.logged("snapshot.refused", run="r")
        there.sql("INSERT INTO trades VALUES (2)")
        assert (
            await command(there, "wait", there.value("SELECT pg_current_wal_lsn()::text"), "--timeout", "5s", **USER)
        ).code == 0, "the stream goes on"
        there.sql('SELECT pg_logical_emit_message(true, \'ditto.snapshot\', \'{"start": [], "run": "s"}\')')
        await ditto.logged("snapshot.refused", run="s")
        assert (
            await command(there, "wait", there.value("SELECT pg_current_wal_lsn()::text"), "--timeout", "5s", **USER)
        ).code == 0, "the stream goes on"
        assert len(ditto.logs("session.failed")) == 1
        assert await ditto.stop() == 0


async def test_what_is_documented_for_the_object_store_is_enough(world: World, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guides" / "large-rows.md").read_text().split("**Permissions.**")[1].split("\n\n")[0]
    more = [each for each in re.findall(r"`(\$[^`]+)`", guide) if "ditto_events" in each]
    assert len(more) == 5
    world.sql("CREATE TABLE large (id int PRIMARY KEY, body text)")
    world.fence_subject = f"{world.name}.>"
    with limited(world, tmp_path, publish=documented(world) + more):
        running = await world.streaming(
            **USER, events_oversize="object_store", events_subject="{prefix}.{schema}.{table}"
        )
        row = "INSERT INTO large VALUES (1, repeat('x', 2000000)) RETURNING pg_current_wal_insert_lsn()::text"
        in_transaction = parse_lsn(world.value(row))
        await running.logged("event.oversize")
        # The position of its commit, and not the end of the WAL behind it: that is confirmed up to 20 s later.
        await eventually(lambda: world.confirmed_lsn >= in_transaction, "it is stored")
        assert "user ditto may not" not in running.output
        assert await running.stop() == 0
    given = {"events_oversize": "object_store", "events_subject": "{prefix}.{schema}.{table}"}
    with limited(world, tmp_path / "without", publish=documented(world)):
        assert (
            "user ditto may not publish to $JS.API.STREAM.INFO.OBJ_ditto_events"
            in (await command(world, "check", **given)).output
        )
    with limited(world, tmp_path / "writing", publish=documented(world) + more[:-1]):
        assert "user ditto may not publish to $" in (await command(world, "check", **given)).output
