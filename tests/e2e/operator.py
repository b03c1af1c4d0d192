"""Somebody who does what a hint says, to the letter and in its order, while the application goes on.

A hint is a sentence. `STEPS` knows what each part of it asks for; the parts are done in their order in the sentence.
Between any two of them the application commits. At the end a consumer's copy equals the tables.
"""

from __future__ import annotations

import re
import signal
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.consumer import Consumer
from e2e.shell import Shell, open_shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.process import DittoProcess
    from e2e.world import World

SETTINGS = {"events_metadata": ["primary_key"]}
STEPS = {
    "create": r"create the publication|create it again",
    "sql": r"(?P<sql>(?:ALTER|CREATE) PUBLICATION [^;]*|SELECT pg_catalog\.pg_\w+\(.*?\)\))",
    "correct": r"correct the rows that are there",
    "drop": r"\(ditto slot drop\)",
    "continue": r"start once with delivery\.on_gap: continue",
    "anew": r"start with a new postgres\.slot, nats\.stream and events\.prefix",
    "own": r"another nats\.stream and events\.prefix",
    "name": r"set postgres\.slot to another name",
    "again": r"start (?:Ditto )?again",
    "reload": r"reload (?:the )?consumers",
    "purge": r"nats stream purge \S+ --keep=1",
    "remove": r"nats --server=\S+ stream rm .*(?=\), start)",
    "shell": r"nats --server=\S+ stream rmm .*--force",
}
PARTS = re.compile("|".join(f"(?P<{name}>{pattern.replace('(?P<sql>', '(?:')})" for name, pattern in STEPS.items()))


class Application:
    """Commits a row, changes one and deletes one, each time it is asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0
        world.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")

    def goes_on(self) -> None:
        number = self._number = self._number + 10
        self._world.sql(
            f"INSERT INTO t SELECT i, 0 FROM generate_series({number}, {number + 9}) AS i",
            f"UPDATE t SET n = n + 1 WHERE id % 3 = {number % 3}",
            f"DELETE FROM t WHERE id = {number - 5}",
        )


class Operator:
    """Does what a hint says."""

    def __init__(self, world: World, shell: Shell, application: Application, consumer: Consumer) -> None:
        self.world = world
        self.shell = shell
        self.application = application
        self.consumer = consumer
        self.ditto: DittoProcess | None = None
        self.done: list[str] = []

    async def follow(self, hint: str) -> None:
        """All its parts, in their order."""
        for part in PARTS.finditer(hint):
            name = part.lastgroup
            assert name is not None
            self.application.goes_on()
            await getattr(self, f"_{name}")(part[0])
            self.done.append(name)
        self.application.goes_on()

    async def _create(self, _words: str) -> None:
        self.world.sql(f"CREATE PUBLICATION {self.world.name} FOR ALL TABLES")

    async def _sql(self, statement: str) -> None:
        self.world.sql(statement)

    async def _correct(self, _words: str) -> None:
        if self.world.value("SHOW server_encoding") != "SQL_ASCII":
            self.world.sql("UPDATE t SET note = NULL WHERE id = -1")
            return
        page = (Path(__file__).parents[2] / "docs" / "events.md").read_text().partition("## Encodings")[2]
        found = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
        assert found is not None
        self.world.sql(found[1])

    async def _drop(self, _words: str) -> None:
        if self.ditto is not None:
            await self.ditto.stop()
        await self.shell.run("ditto slot drop --yes")

    async def _continue(self, _words: str) -> None:
        self.ditto = await self.world.streaming(delivery_on_gap="continue", **SETTINGS)

    async def _again(self, _words: str) -> None:
        self.ditto = await self.world.streaming(**SETTINGS)

    async def _anew(self, words: str) -> None:
        await self._own(words)
        await self._name(words)
        await self._again(words)

    async def _own(self, _words: str) -> None:
        name = f"{self.world.name}_new"
        self.world.stream = name.upper()
        self.world.fence_subject = f"{name}_public_fence"
        self.world.settings |= {"DITTO_NATS_STREAM": self.world.stream, "DITTO_EVENTS_PREFIX": name}

    async def _name(self, _words: str) -> None:
        self.world.settings["DITTO_POSTGRES_SLOT"] = f"{self.world.name}_new"

    async def _reload(self, _words: str) -> None:
        self.consumer.reload()

    async def _remove(self, command: str) -> None:
        if self.ditto is not None:
            await self.ditto.stop()
        await self.shell.run(f"{command} --force")

    async def _shell(self, command: str) -> None:
        await self.shell.run(command)

    async def _purge(self, command: str) -> None:
        await self.shell.run(command + " --force")


@contextmanager
def open_operator(world: World, tool: str = "shim") -> Iterator[Operator]:
    """With a consumer of the world's stream, and a table."""
    consumer = Consumer.in_python(world)
    with closing(consumer):
        yield Operator(world, open_shell(world, tool), Application(world), consumer)


async def has_run(operator: Operator) -> DittoProcess:
    """Ditto streams, and the consumer has a copy of what is committed."""
    ditto = await operator.world.streaming(**SETTINGS)
    follower = operator.consumer.start()
    operator.application.goes_on()
    await operator.consumer.catches_up()
    await operator.world.confirms_tail()
    follower.end(signal.SIGKILL)
    return ditto


async def refusal(world: World, **settings: object) -> str:
    """The hint of a Ditto that does not start."""
    ditto = world.ditto(**{**SETTINGS, **settings})
    assert await ditto.ended() in {3, 4}
    return ditto.sentence().partition("\n")[2]


async def ends_well(operator: Operator, hint: str, *expected: str) -> None:
    await operator.follow(hint)
    assert operator.done == list(expected), hint
    operator.consumer.start()
    await operator.consumer.equals("t")
