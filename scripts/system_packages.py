"""The packages of the operating system that the set-up needs: which are missing, and how to install them.

Runs with nothing but the standard library.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that is missing, and the packages that have it; "" where no package does."""

    what: str
    debian: str = ""
    fedora: str = ""
    alpine: str = ""
    macos: str = ""


COMPILER = Need(
    what="a C compiler", debian="gcc libc6-dev", fedora="gcc", alpine="gcc musl-dev", macos="xcode-select --install"
)
LIBPQ = Need(
    what="libpq's headers",
    debian="libpq-dev",
    fedora="libpq-devel",
    alpine="libpq-dev",
    macos='brew install libpq && export PATH="$(brew --prefix libpq)/bin:$PATH"',
)

JAVA = Need(
    what="a JDK and Maven (the tests start a Kafka, and read events as Kafka Connect and Debezium do)",
    debian="default-jdk-headless maven",
    fedora="java-latest-openjdk-devel maven",
    alpine="openjdk17-jdk maven",
    macos="brew install openjdk maven",
)

REDIS = Need(
    what="redis-server (tests and benchmarks start one)",
    debian="redis-server",
    fedora="valkey",
    alpine="valkey",
    macos="brew install redis",
)

RABBITMQ_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/opt/homebrew/sbin"])
RABBITMQ = Need(
    what="rabbitmq-server (tests and benchmarks start one)",
    debian="rabbitmq-server",
    fedora="rabbitmq-server",
    alpine="rabbitmq-server",
    macos="brew install rabbitmq",
)

CHROMIUM = Need(
    what="Chromium (tests look at the console in it)",
    debian="chromium",
    fedora="chromium",
    alpine="chromium",
    macos="brew install --cask chromium",
)


def missing(extra: str) -> list[Need]:
    """What the packages' builds and `extra` need and this machine does not have, for the interpreter that runs this."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    headers, venv = Need(what="Python's headers"), Need(what="Python's venv module")
    # A Python outside /usr (built by hand, or an image's own in /usr/local) is not served by the system's packages.
    if sys.base_prefix == "/usr":
        headers = replace(headers, debian=f"{name}-dev", fedora="python3-devel", alpine="python3-dev")
        venv = replace(venv, debian=f"{name}-venv", fedora="python3-libs", alpine="python3")
    has = {
        COMPILER: has_compiler(),
        LIBPQ: has_libpq(),
        headers: Path(sysconfig.get_path("include"), "Python.h").exists(),
        JAVA: extra != "test" or all(shutil.which(program) for program in ("java", "javac", "mvn")),
        REDIS: extra not in {"test", "bench"} or any(map(shutil.which, ("redis-server", "valkey-server"))),
        RABBITMQ: extra not in {"test", "bench"} or shutil.which("rabbitmq-server", path=RABBITMQ_PATH) is not None,
        CHROMIUM: extra != "test" or any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
        venv: all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")),
    }
    return [need for need, is_there in has.items() if not is_there]


def has_compiler() -> bool:
    """Whether a program compiles and links: a compiler without the C library's headers is common on Debian."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n")
        return is_success([*compiler, str(source), "-o", str(source.with_suffix(""))])


def has_libpq() -> bool:
    """Whether pg_config names a folder with libpq's headers: Debian's postgresql-common has one that does not."""
    try:
        run = subprocess.run(["pg_config", "--includedir"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return Path(run.stdout.strip(), "libpq-fe.h").exists()


def is_success(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def instructions(needs: list[Need]) -> str:
    """What to install, by name, for each kind of system."""
    lines = [f"missing: {', '.join(need.what for need in needs)}"]
    if orphans := ", ".join(need.what for need in needs if not need.debian):
        lines.append(f"{sys.executable} came without {orphans}: name a complete Python with PYTHON=/path/to/python3")
    if any(need.debian for need in needs):
        lines.append("install what is missing, as root, then run this again:")
    for system, command, packages in (
        ("Debian, Ubuntu", "apt-get install", [need.debian for need in needs]),
        ("Fedora", "dnf install", [need.fedora for need in needs]),
        ("Alpine", "apk add", [need.alpine for need in needs]),
    ):
        if names := " ".join(filter(None, packages)):
            lines.append(f"  {system + ':':<16}{command} {names}")
    if steps := " && ".join(need.macos for need in needs if need.macos):
        lines.append(f"  {'macOS:':<16}{steps}")
    return "\n".join(lines)
