"""Events read by Kafka Connect's and Debezium's own classes, from Maven, in a Java program beside this file.

Jars and class are kept below `.venv`; the first run fetches 24 MB.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOURCES: Final = Path(__file__).with_name("java")
_KEPT: Final = Path(__file__).parents[3] / ".venv/.java"
_TIMEOUT_S: Final = 300


def consume(events: Sequence[bytes], *, has_schemas: bool) -> list[dict[str, Any]]:
    """For each event `value`, what JsonConverter reads; `unwrapped`, what ExtractNewRecordState leaves of it (with
    schemas alone); and `after`, what Debezium's deserializer gives.
    """
    folder = _built()
    command = ["java", "-cp", f"{folder}:{folder}/lib/*", "Consume", str(has_schemas).lower()]
    given = b"".join(event + b"\n" for event in events)
    run = subprocess.run(command, input=given, capture_output=True, check=False, timeout=_TIMEOUT_S)
    assert run.returncode == 0, run.stderr.decode()
    return [json.loads(line) for line in run.stdout.splitlines()]


def _built() -> Path:
    """The folder with the class, and the jars in `lib`."""
    sources = sorted(_SOURCES.iterdir())
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    kept = _KEPT / digest
    if kept.exists():
        return kept
    _KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_KEPT) as name:
        made = Path(name, "made")
        made.mkdir()
        copy = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={made}/lib"]
        _run([*copy, "-f", str(_SOURCES / "pom.xml")])
        _run(["javac", "-d", str(made), "-cp", f"{made}/lib/*", str(_SOURCES / "Consume.java")])
        try:
            made.rename(kept)
        except OSError:  # another process was faster
            shutil.rmtree(made)
    return kept


def _run(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    assert run.returncode == 0, run.stdout + run.stderr
