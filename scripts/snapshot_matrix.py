"""Runs the long state test of snapshots on several majors of PostgreSQL, from several seeds."""

from __future__ import annotations

import argparse
import os
import sys

from scripts.all_postgres import run

TEST = "tests/e2e/snapshots/test_state.py"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/snapshots", description=__doc__)
    parser.add_argument("--majors", default="14,18", help="of PostgreSQL (default: 14,18)")
    parser.add_argument("--seeds", default="1", help="of the writers (default: 1)")
    parser.add_argument("-k", metavar="WORDS", help="only some, as pytest has it: -k 'python and not asynchronous'")
    arguments = parser.parse_args()
    os.environ["DITTO_TEST_SEEDS"] = arguments.seeds
    chosen = ["-k", arguments.k] if arguments.k else []
    command = ["-m", "long", "-q", "-s", "-p", "no:xdist", *chosen, TEST]
    outcomes = [run(int(major), command) for major in arguments.majors.split(",")]
    for outcome in outcomes:
        print(f"PostgreSQL {outcome.server}: {outcome.summary}, {outcome.seconds:.0f} s")
    sys.exit(not all(outcome.is_passed for outcome in outcomes))


if __name__ == "__main__":
    main()
