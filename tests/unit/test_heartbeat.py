"""The heartbeat: written while the event loop turns, and judged by another process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ditto.service import heartbeat

if TYPE_CHECKING:
    from pathlib import Path


class Running:
    state = "streaming"


@pytest.fixture
def beat(tmp_path: Path) -> Path:
    return tmp_path / "beat"


def run_check(beat: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != heartbeat.VARIABLE}
    if beat is not None:
        environment[heartbeat.VARIABLE] = str(beat)
    command = [sys.executable, "-W", "error", "-m", "ditto.service.heartbeat"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def is_written(beat: Path) -> bool:
    return beat.exists() and bool(beat.read_text())


async def written(beat: Path) -> None:
    async with asyncio.timeout(10):
        while not is_written(beat):  # noqa: ASYNC110  a file has no event to wait for
            await asyncio.sleep(0.01)


async def test_it_beats_while_the_body_runs(beat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(heartbeat.VARIABLE, str(beat))
    async with heartbeat.keep_heartbeat(Running()):
        await written(beat)
        assert heartbeat.check(beat) == (True, "streaming")


async def test_it_beats_again(beat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(heartbeat.VARIABLE, str(beat))
    monkeypatch.setattr(heartbeat, "_PERIOD_S", 0.01)
    async with heartbeat.keep_heartbeat(Running()):
        await written(beat)
        beat.unlink()  # noqa: ASYNC240  a file of the test's own
        await written(beat)


async def test_nothing_is_written_without_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(heartbeat.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    async with heartbeat.keep_heartbeat(Running()):
        await asyncio.sleep(0)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_a_folder_that_is_missing_does_not_end_the_work(beat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = beat / "late"
    monkeypatch.setenv(heartbeat.VARIABLE, str(late))
    monkeypatch.setattr(heartbeat, "_PERIOD_S", 0.01)
    async with heartbeat.keep_heartbeat(Running()):
        await asyncio.sleep(0)
        beat.mkdir()  # noqa: ASYNC240
        await written(late)


def test_the_command_tells_by_its_exit_code(beat: Path) -> None:
    beat.write_text(f"{time.monotonic():.3f} streaming\n")
    fresh = run_check(beat)
    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (0, "streaming\n", "")
    beat.write_text(f"{time.monotonic() - 31:.3f} streaming\n")
    stale = run_check(beat)
    assert (stale.returncode, stale.stdout) == (1, "")
    assert stale.stderr.startswith("the last heartbeat is 3")


def test_the_command_without_the_variable_or_the_file(beat: Path) -> None:
    assert run_check(None).returncode == 1
    assert heartbeat.VARIABLE in run_check(None).stderr
    missing = run_check(beat)
    assert (missing.returncode, missing.stderr) == (1, f"no heartbeat: {beat} does not exist\n")


@pytest.mark.parametrize("text", ["", "x", "now streaming", "1", "nan streaming", "inf streaming", "1 2 3"])
def test_what_is_no_heartbeat_is_not_healthy(beat: Path, text: str) -> None:
    beat.write_text(text)
    is_healthy, message = heartbeat.check(beat)
    assert not is_healthy
    assert message


def test_a_heartbeat_from_before_a_reboot_is_not_healthy(beat: Path) -> None:
    beat.write_text(f"{time.monotonic() + 1000:.3f} streaming\n")
    assert not heartbeat.check(beat)[0]


def test_ditto_health_says_the_same(beat: Path) -> None:
    beat.write_text(f"{time.monotonic():.3f} standby\n")
    command = [sys.executable, "-m", "ditto", "health"]
    environment = {**os.environ, heartbeat.VARIABLE: str(beat)}
    fresh = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (0, "standby\n", "")
    beat.unlink()
    missing = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stderr) == (1, f"no heartbeat: {beat} does not exist\n")
