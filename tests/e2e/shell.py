"""A shell in which people enter what Ditto prints: it has `ditto`, and `nats`."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2e.world import World

TOP = Path(__file__).parents[2]
NATS_TOOL = "github.com/nats-io/natscli/nats@v0.5.1"
BUILD_TIMEOUT_S = 900


def real_nats_tool() -> Path:
    """The `nats` tool: the one in PATH, or one built once and kept in build/. Skips where it cannot be had."""
    if found := shutil.which("nats"):
        return Path(found).parent
    folder = TOP / "build" / "tools"
    if (folder / "nats").exists():
        return folder
    if shutil.which("go") is None:
        pytest.skip("neither the nats tool nor Go is on this machine")
    env = {**os.environ, "GOBIN": str(folder), "GOFLAGS": ""}
    command = ["go", "install", NATS_TOOL]
    built = subprocess.run(
        command, env=env, cwd="/", capture_output=True, text=True, check=False, timeout=BUILD_TIMEOUT_S
    )
    if built.returncode:
        pytest.skip(f"the nats tool cannot be built: {built.stderr[-200:]}")
    return folder


def shim(folder: Path) -> Path:
    """A folder with a `nats` of the tests' own."""
    folder.mkdir()
    program = folder / "nats"
    python = shlex.quote(sys.executable)
    path = shlex.quote(f"{TOP / 'tests'}:{TOP}")
    program.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {python} -W error -m e2e.nats_tool "$@"\n')
    program.chmod(0o755)
    return folder


class Shell:
    """Runs lines in an empty folder, in which nothing may be left behind."""

    def __init__(self, world: World, tools: Path) -> None:
        self._world = world
        self._tools = tools
        self.folder = world.folder / "shell"
        self.folder.mkdir()

    async def run(self, line: str, *, is_checked: bool = True) -> subprocess.CompletedProcess[str]:
        """As bash reads it."""
        programs = [str(self._tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        env = {
            "PATH": os.pathsep.join(programs),
            "PYTHONPATH": str(TOP),
            "HOME": str(self._world.folder),
            "NATS_URL": self._world.nats_server.url,
            **self._world.settings,
        }
        command = ["bash", "-euo", "pipefail", "-c", line]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=self.folder, env=env, capture_output=True, text=True, check=False, timeout=60
        )
        assert not list(self.folder.iterdir()), f"something else than what was meant was run: {line}"
        if is_checked:
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done


TOOLS = ["shim", pytest.param("nats", marks=[pytest.mark.long, pytest.mark.timeout(BUILD_TIMEOUT_S + 120)])]


def open_shell(world: World, tool: str) -> Shell:
    """With the tool of that name in TOOLS."""
    return Shell(world, shim(world.folder / "tools") if tool == "shim" else real_nats_tool())
