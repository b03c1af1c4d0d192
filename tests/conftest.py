"""For all tests: a time limit that holds, and which PostgreSQL they use.

The installed wheel's, or the one whose programs DITTO_TEST_POSTGRES names.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A few seconds for all of them together; more examples: pytest --hypothesis-profile=thorough. A machine that stands
# still for a second is no fault of a strategy.
settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=5000)
settings.load_profile("quick")

pytest_plugins = ["time_limit"]
PROGRAMS = os.environ.get("DITTO_TEST_POSTGRES")


def pytest_configure() -> None:
    if PROGRAMS is None:
        return
    programs = Path(PROGRAMS)
    if not (programs / "postgres").exists():
        raise pytest.UsageError(f"DITTO_TEST_POSTGRES={PROGRAMS}: there is no program `postgres`")
    pytest.MonkeyPatch().setattr("ditto.testing.servers.embedded_postgres_bin", lambda: programs)


def pytest_report_header() -> str | None:
    if PROGRAMS is None:
        return None
    version = subprocess.run([Path(PROGRAMS, "postgres"), "--version"], capture_output=True, text=True, check=True)
    return version.stdout.strip()
