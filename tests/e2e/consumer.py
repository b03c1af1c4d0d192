"""The example programs of docs/guides/consumers.md, as processes, and the copy that they keep."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ditto.hints import literal
from ditto.testing.process import ServerProcess
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World

EXAMPLES = Path(__file__).parents[2] / "examples" / "consumers"
BUILD_TIMEOUT_S = 110


def go_program(folder: Path) -> Path:
    """The Go example, built. Skips where there is no Go, or its modules cannot be had."""
    if shutil.which("go") is None:
        pytest.skip("no Go on this machine")
    program = folder / "consumer"
    command = ["go", "build", "-o", str(program), "."]
    try:
        built = subprocess.run(
            command, cwd=EXAMPLES / "go", capture_output=True, text=True, check=False, timeout=BUILD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the module proxy does not answer")
    if built.returncode and any(
        words in built.stderr for words in ("dial tcp", "module lookup disabled", "i/o timeout")
    ):
        pytest.skip("the Go modules cannot be downloaded")
    assert built.returncode == 0, built.stderr
    return program


class Consumer:
    """Somebody who keeps a copy of the world's tables, in a database of its own."""

    def __init__(self, world: World, command: list[str]) -> None:
        self._world = world
        self._command = command
        self._database = f"{world.name}_copy"
        self._starts = 0
        self._processes: list[ServerProcess] = []
        world.sql(f"CREATE DATABASE {self._database}", dsn=world.postgres.dsn)
        self.dsn = world.postgres.dsn.removesuffix("/postgres") + f"/{self._database}"
        world.sql((EXAMPLES / "copy.sql").read_text(), dsn=self.dsn)

    @classmethod
    def in_python(cls, world: World, name: str = "ordered") -> Consumer:
        return cls(world, [sys.executable, str(EXAMPLES / "python" / f"{name}.py")])

    def close(self) -> None:
        for process in self._processes:
            process.end(signal.SIGKILL)

    def start(self) -> ServerProcess:
        """The program, once it follows the stream."""
        self._starts += 1
        process = ServerProcess(
            self._command,
            name="consumer",
            log_path=self._world.folder / f"consumer{self._starts}.log",
            last_signal=signal.SIGKILL,
            env=self._env(),
        )
        self._processes.append(process)
        process.wait_until(lambda: "following" in process.output(), timeout_s=20)
        return process

    def reload(self) -> None:
        """Make the copy anew, as the guide says."""
        command = [sys.executable, str(EXAMPLES / "python" / "reload.py")]
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr

    def _env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        world = self._world
        own = {"NATS_URL": world.nats_server.url, "STREAM": world.stream, "COPY": self.dsn, "TABLES": world.dsn}
        return {**kept, **own, "ACK_WAIT_S": "0.5"}

    @property
    def sequence(self) -> int:
        """Of the last message in the copy."""
        stream = literal(self._world.stream)
        rows = self._world.sql(f"SELECT sequence FROM progress WHERE stream = {stream}", dsn=self.dsn)
        return int(rows[0][0]) if rows else 0

    async def catches_up(self, *, timeout_s: float = 40) -> None:
        """Until everything that the stream holds now is in the copy."""
        await self._world.fence(timeout_s=timeout_s)
        last = (await self._world.info()).state.last_seq
        try:
            await eventually(lambda: self.sequence >= last, f"the copy is at {last}", timeout_s=timeout_s)
        except AssertionError:
            raise AssertionError("\n".join(process.output() for process in self._processes)) from None

    def rows(self) -> dict[tuple[str, str, str], Any]:
        """The copy, by schema, table and key."""
        query = "SELECT schema_name, table_name, key::text, row FROM rows"
        return {(schema, table, key): row for schema, table, key, row in self._world.sql(query, dsn=self.dsn)}

    def expected(self, *tables: str) -> dict[tuple[str, str, str], Any]:
        """What it has to be: those tables of the schema public, whose key is the column `id` or `n`."""
        found = {}
        for table in (*tables, "fence"):
            key = "n" if table == "fence" else "id"
            for identity, row in self._world.sql(f'SELECT "{key}", to_jsonb(t) FROM "{table}" AS t'):
                found["public", table, json.dumps([identity])] = row
        return found

    async def equals(self, *tables: str) -> None:
        """Everything is in the copy, and the copy is what the tables are."""
        await self.catches_up()
        copy, expected = self.rows(), self.expected(*tables)
        assert copy.keys() == expected.keys(), "the same rows"
        assert [key for key in copy if copy[key] != expected[key]] == []


async def pause(process: ServerProcess, seconds: float) -> None:
    """As a machine that stalls: longer than `ack_wait`, and its message is delivered again."""
    process.suspend()
    await asyncio.sleep(seconds)
    process.send(signal.SIGCONT)
