"""Whatever a hanging test does, it fails: pytest runs one that hangs, with the configuration of this repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
TEST = """
import asyncio, itertools, time, pytest, uvloop

async def busy():
    while True:
        await asyncio.sleep(0)

def test_hangs_in_python():
    while True:
        pass

def test_hangs_in_asyncio():
    asyncio.run(asyncio.sleep(1000))

def test_hangs_in_uvloop():
    uvloop.run(asyncio.sleep(1000))

def test_hangs_in_a_busy_uvloop():
    uvloop.run(busy())

def test_hangs_with_the_interpreter_locked():
    sum(itertools.repeat(0))

def test_hangs_and_keeps_what_is_raised():
    try:
        time.sleep(1000)
    except BaseException:
        time.sleep(1000)

@pytest.fixture
def stuck():
    yield
    time.sleep(1000)

def test_fails_before_a_fixture_hangs(stuck):
    assert False

def test_passes():
    pass
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(TEST)
    (folder / "conftest.py").write_text("import time_limit\ntime_limit.GRACE_S = 0.5\n")
    command = [sys.executable, "-m", "pytest", "-c", str(TOP / "pyproject.toml"), "--rootdir", str(folder), str(folder)]
    options = ["-p", "time_limit", "-p", "no:cacheprovider", "-o", "timeout=1", *arguments]
    return subprocess.run(
        [*command, *options],
        env={**os.environ, "PYTHONPATH": str(TOP / "tests")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.long
def test_hanging_tests_fail_in_a_worker_and_the_others_run(tmp_path: Path) -> None:
    result = run(tmp_path, "-n", "1")
    assert result.returncode == 1
    assert "8 failed, 1 passed" in result.stdout, result.stdout  # the fixture that hangs is a failure of its own
    failed = set(re.findall(r"^FAILED .*::test_(\w+)", result.stdout, re.MULTILINE))
    assert failed == set(re.findall(r"def test_((?:hangs|fails)_\w+)", TEST))


@pytest.mark.parametrize(
    "test",
    [
        "in_uvloop",
        pytest.param("with_the_interpreter_locked", marks=pytest.mark.long),
        pytest.param("and_keeps_what_is_raised", marks=pytest.mark.long),
    ],
)
def test_a_hanging_test_ends_without_workers(tmp_path: Path, test: str) -> None:
    result = run(tmp_path, "-n", "0", "-k", f"hangs_{test}")
    assert result.returncode == 1
    assert f"in test_hangs_{test}" in result.stderr  # where it hung


@pytest.mark.long
def test_fixtures_that_hang_after_a_failure(tmp_path: Path) -> None:
    result = run(tmp_path, "-n", "0", "-k", "fails_before")
    assert result.returncode == 1
    assert "in stuck" in result.stderr
