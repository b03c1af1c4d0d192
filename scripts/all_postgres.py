"""Runs the tests that need PostgreSQL against every supported major version, one after the other.

Arguments go to pytest; without any, all integration and end-to-end tests run. The tests see the server through
DITTO_TEST_POSTGRES, the folder of its programs.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from ditto.errors import DittoError
from scripts.postgres_servers import MAJORS, TOP, bin_dir, version

DEFAULT = ("-n", "2", "-q", "tests/integration", "tests/e2e")


@dataclass
class Outcome:
    """How the tests went on one major."""

    server: str
    is_passed: bool
    summary: str
    seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/test --all-postgres", description=__doc__)
    parser.add_argument("--majors", help="only these: --majors 14,16")
    arguments, pytest_arguments = parser.parse_known_args()
    # A shell ignores SIGINT for what it runs in the background, children inherit that, and tests that send it hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    majors = [int(word) for word in arguments.majors.split(",")] if arguments.majors else MAJORS
    outcomes = [run(major, pytest_arguments or list(DEFAULT)) for major in majors]
    print("\nPostgreSQL  result      time  tests")
    for outcome in outcomes:
        result = "passed" if outcome.is_passed else "FAILED"
        print(f"{outcome.server:<10}  {result:<6}  {outcome.seconds:6.0f} s  {outcome.summary}")
    sys.exit(not all(outcome.is_passed for outcome in outcomes))


def run(major: int, arguments: list[str]) -> Outcome:
    """All tests on one major. A server that cannot be had counts as a failure."""
    try:
        programs = bin_dir(major)
        name = version(programs)
    except DittoError as error:
        print(error, file=sys.stderr)
        return Outcome(str(major), is_passed=False, summary=f"no server: {error.message.splitlines()[0]}")
    print(f"\n=== PostgreSQL {name}", flush=True)
    started = time.monotonic()
    environment = {**os.environ, "DITTO_TEST_POSTGRES": str(programs)}
    command = [sys.executable, "-m", "pytest", *arguments]
    # Without a terminal: a command under test that asks something gets no answer, and does not wait for one.
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=TOP, env=environment, **pipes) as process:
        last = ""
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    summary = re.sub(r" in [\d.]+s.*", "", last.strip("= "))
    return Outcome(name, is_passed=process.returncode == 0, summary=summary, seconds=time.monotonic() - started)


if __name__ == "__main__":
    main()
