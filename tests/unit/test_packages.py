"""What is installed is what is locked; and what cannot be installed says what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
LOCKS = sorted((TOP / "requirements").glob("*.txt"))
PIN = re.compile(
    r"^([a-z0-9-]+)==([^ ]+)((?: ;[^\\\n]*)?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", re.MULTILINE
)


def constraints() -> dict[str, str]:
    lines = (TOP / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def pins(path: Path) -> dict[str, str]:
    """The versions in a lock, by name; the file holds nothing else."""
    text = path.read_text()
    assert PIN.sub("", text).strip() == ""
    return {match[1]: match[2] for match in PIN.finditer(text)}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_has_the_versions_of_the_constraints_each_with_hashes(path: Path) -> None:
    found = pins(path)
    assert found
    known = constraints()
    # Only for a platform on which nothing is tested.
    assert {name: known.get(name) for name in found if name != "winloop"} == {
        name: version for name, version in found.items() if name != "winloop"
    }, "run: scripts/lock"


def test_every_package_that_pyproject_asks_for_is_locked() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        found = {re.split(r"[^A-Za-z0-9_.-]", each)[0].lower().replace("_", "-") for each in requirements}
        return found - {"ditto-cdc"}

    run = pins(TOP / "requirements" / "run.txt")
    assert names(project["dependencies"]) <= run.keys()
    extras = project["optional-dependencies"]
    sinks = extras["kafka"] + extras["rabbitmq"] + extras["redis"] + extras["webhook"]
    inside = {"image": sinks, "test": [*extras["docs"], *extras["otel"], *sinks]}
    for extra in ("demo", "test", "bench", "fuzz", "image"):
        locked = pins(TOP / "requirements" / f"{extra}.txt")
        assert run.keys() <= locked.keys()
        wanted = names([*extras.get(extra, []), *inside.get(extra, [])])
        assert wanted <= locked.keys(), f"{extra}: run scripts/lock"


@pytest.mark.parametrize("has_pg_config", [False, True])
def test_an_installation_without_libpqs_headers_says_what_to_install(tmp_path: Path, has_pg_config: bool) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    if has_pg_config:
        (programs / "pg_config").write_text("#!/bin/sh\n")
        (programs / "pg_config").chmod(0o755)
    env = {**os.environ, "PATH": str(programs), "DITTO_NO_EXTENSIONS": "1"}
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "dist_info", "--output-dir", str(tmp_path)],
        cwd=TOP, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == has_pg_config, done.stderr
    assert ("apt-get install gcc libc6-dev libpq-dev python3-dev" in done.stderr) != has_pg_config


@pytest.mark.parametrize(
    ("arguments", "is_parallel"),
    [
        ([], True),
        (["-q", "-k", "lsn"], True),
        (["-n", "0"], False),
        (["-n2"], False),
        (["tests/unit"], False),
        (["tests/unit/test_lsn.py::test_parse"], False),
        (["-m", "long"], False),
    ],
)
def test_all_tests_run_at_once_unless_something_else_is_asked_for(arguments: list[str], is_parallel: bool) -> None:
    env = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        ["scripts/test", *arguments, "--version"], cwd=TOP, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("four at once" in done.stderr) == is_parallel
