"""Both implementations store the same for whatever `events` says; `python -m fuzz.rules` has more seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.random_rules import SECRET

import ditto

FOLDERS = (Path(ditto.__file__).parent.parent, Path(__file__).parent.parent)


def stored(impl: str, *, first: int, count: int) -> list[str]:
    found = subprocess.run(
        [sys.executable, "-m", "fuzz.rules", str(first), str(count)],
        env={**os.environ, "DITTO_IMPL": impl, "PYTHONPATH": os.pathsep.join(map(str, FOLDERS))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


@pytest.mark.parametrize(("first", "count"), [(1, 60), pytest.param(1000, 2000, marks=pytest.mark.long)])
def test_random_rules(first: int, count: int) -> None:
    compiled, plain = (stored(impl, first=first, count=count) for impl in ("c", "python"))
    assert sum(line.startswith("seed") for line in compiled) == count
    assert compiled == plain
    assert [line for line in compiled if SECRET in line] == []
