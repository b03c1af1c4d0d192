"""Prepares .venv: system packages, Python packages at their pinned versions, and the extension, built in place.

Runs with nothing but the standard library. Writes down what it did in .venv/.setup/state.json, and does nothing
where that still holds. While it works the state says so, hence an interrupted set-up is seen and begun anew.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from scripts.system_packages import Need, instructions, is_success, missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TOP = Path(__file__).resolve().parent.parent
VENV = TOP / ".venv"
SETUP = VENV / ".setup"
STATE = SETUP / "state.json"
LOG = SETUP / "log"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = TOP / "requirements"
POLICY = Path("/usr/sbin/policy-rc.d")  # says whether packages may start services

# What decides which packages are installed, and what goes into the extension.
PACKAGE_FILES = ("pyproject.toml", "setup.py", "requirements/*.txt", "ditto/__init__.py")
EXTENSION_FILES = ("setup.py", "ditto/**/*.pyx", "ditto/**/*.pxd")


class SetupError(Exception):
    """The set-up cannot go on; the text says why and what to do."""


def say(text: str) -> None:
    print(f"ditto: {text}", file=sys.stderr, flush=True)


# --- what there is, and what there should be


@dataclass(frozen=True)
class State:
    """What .venv holds. An empty `packages` means a set-up that did not finish."""

    top: str  # a moved checkout has stale paths in .venv
    python: str  # the interpreter that .venv was made with
    packages: str  # digest of PACKAGE_FILES, or "" while they are being installed
    extension: str  # digest of EXTENSION_FILES, or "" while it is being built
    extras: tuple[str, ...]

    def save(self) -> None:
        draft = STATE.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.replace(STATE)


def load() -> State | None:
    """The state of the last set-up; None if there was none or it cannot be read."""
    try:
        fields = json.loads(STATE.read_text())
        return State(**fields | {"extras": tuple(fields["extras"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def wanted(extra: str) -> State:
    return State(
        top=str(TOP),
        python=f"{sys.base_prefix} {platform.machine()} {sys.version}",
        packages=digest(*PACKAGE_FILES),
        extension=digest(*EXTENSION_FILES) + (" skipped" if is_extension_skipped() else ""),
        extras=(extra,),
    )


def digest(*patterns: str) -> str:
    """SHA-256 over the names and contents of the files at the top that match."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in TOP.glob(pattern)}):
        content = path.read_bytes()
        total.update(f"{path.relative_to(TOP)} {len(content)}\n".encode() + content)
    return total.hexdigest()


def is_extension_skipped() -> bool:
    return os.environ.get("DITTO_NO_EXTENSIONS") == "1"


def is_extension_built() -> bool:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return is_extension_skipped() or all(
        path.with_name(path.stem + suffix).exists() for path in TOP.glob("ditto/**/*.pyx")
    )


# --- what the operating system has to provide


def provide(needs: list[Need], extra: str) -> None:
    """Install what is missing with apt-get.

    Raises:
        SetupError: apt-get is not there, may not be used or does not help; names what to install.
    """
    packages = [name for need in needs if need.debian for name in need.debian.split()]
    prefix = root_prefix() if shutil.which("apt-get") else None
    if prefix is None or not all(need.debian for need in needs):
        raise SetupError(instructions(needs))
    say(f"installing {', '.join(packages)} with {' '.join([*prefix[:1], 'apt-get'])}")
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
    install = [*apt, "install", "--no-install-recommends", *packages]
    with without_services(prefix):
        # The package lists may be absent (in an image) or old; only then they are worth the time.
        if not logged(install, is_checked=False):
            logged([*apt, "update"])
            logged(install)
    importlib.invalidate_caches()
    if left := missing(extra):
        raise SetupError(instructions(left))


@contextmanager
def without_services(prefix: list[str]) -> Iterator[None]:
    """Keep Debian from starting the service of each server that it installs: the tests start their own."""
    if POLICY.exists():  # somebody has decided already
        yield
        return
    with tempfile.NamedTemporaryFile("w") as script:
        script.write("#!/bin/sh\nexit 101\n")
        script.flush()
        logged([*prefix, "install", "-m", "755", script.name, str(POLICY)])
    try:
        yield
    finally:
        logged([*prefix, "rm", "-f", str(POLICY)])


def root_prefix() -> list[str] | None:
    """What to put before a command to run it as root; None if that is not possible."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    if is_success(["sudo", "-n", "true"]):
        return ["sudo", "-n"]
    return ["sudo"] if sys.stdin.isatty() and sys.stderr.isatty() else None


# --- the steps


def logged(command: list[str], *, env: Mapping[str, str] | None = None, is_checked: bool = True) -> bool:
    """Run a command at the top with its output in the log; False if it failed and that is no error."""
    with LOG.open("a") as log:
        log.write(f"$ {shlex.join(command)}\n")
        log.flush()
        run = subprocess.run(
            command,
            cwd=TOP,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        )
    if run.returncode and is_checked:
        tail = "\n".join(f"  {line}" for line in LOG.read_text(errors="replace").splitlines()[-40:])
        raise SetupError(f"{tail}\nditto: failed: {shlex.join(command)}\nditto: the whole log is {LOG}")
    return run.returncode == 0


def is_adoptable() -> bool:
    """Whether .venv, made by other means, was made here, of this very interpreter and with pip."""
    probe = "import pip, platform, sys; print(sys.base_prefix, platform.machine(), sys.version)"
    try:
        if str(VENV) not in (VENV / "pyvenv.cfg").read_text():
            return False
        run = subprocess.run([str(PYTHON), "-c", probe], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return run.stdout.strip() == wanted("").python


def make_venv() -> None:
    say(f"creating .venv with Python {platform.python_version()}")
    for path in VENV.iterdir():
        if path != SETUP:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    # The base interpreter, not a virtual environment's: that may be the .venv that was just emptied.
    base = getattr(sys, "_base_executable", sys.executable)
    logged([base, "-m", "venv", str(VENV)])


def install_packages(extras: tuple[str, ...]) -> None:
    say(f"installing packages ({', '.join(extras)})")
    pip = [str(PYTHON), "-m", "pip", "install", "--no-input", "--progress-bar=off", "--no-deps"]
    locked = [*pip, "--require-hashes"]  # what is downloaded is what was locked, or nothing is installed
    logged([*locked, "-r", str(REQUIREMENTS / "build.txt")])
    # With the build tools in place no build needs an environment of its own: psycopg-c is compiled with them.
    files = [part for extra in extras for part in ("-r", str(REQUIREMENTS / f"{extra}.txt"))]
    logged([*locked, "--no-build-isolation", *files])
    # The extension has its own step.
    logged([*pip, "--no-build-isolation", "-e", "."], env={"DITTO_NO_EXTENSIONS": "1"})


def build_extension() -> None:
    if is_extension_skipped():
        return
    say("building the extension")
    # By content, not by time stamp: a checkout may lay an older source over a newer build.
    jobs = str(os.cpu_count() or 1)
    logged(
        [str(PYTHON), "setup.py", "build_ext", "--inplace", "--force", "--parallel", jobs],
        env={"CYTHON_FORCE_REGEN": "1"},
    )


def prepare(extra: str) -> None:
    """Bring .venv to what `extra` needs, doing only what is not done yet."""
    want, have = wanted(extra), load()
    is_same_place = have is not None and (have.top, have.python) == (want.top, want.python) and PYTHON.exists()
    if have is not None and is_same_place and have.packages:
        extras = tuple(sorted({*have.extras, *want.extras}))
        is_installed = have.packages == want.packages and have.extras == extras
        if is_installed and have.extension == want.extension and is_extension_built():
            return
        is_usable = True
    else:
        extras, is_installed, is_usable = want.extras, False, have is None and is_adoptable()

    started = time.monotonic()
    LOG.unlink(missing_ok=True)
    if needs := missing(extra):
        provide(needs, extra)
    state = replace(want, packages="", extension="", extras=extras)
    if not is_installed:
        state.save()
        if not is_usable:
            make_venv()
        install_packages(extras)
    state = replace(state, packages=want.packages)
    state.save()
    build_extension()
    replace(state, extension=want.extension).save()
    say(f"ready after {time.monotonic() - started:.0f} s")


@contextmanager
def lock() -> Iterator[None]:
    """One set-up at a time in a checkout: a second one waits and then finds everything done."""
    SETUP.mkdir(parents=True, exist_ok=True)
    with (SETUP / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this checkout")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extra", choices=("demo", "test", "bench", "fuzz"), help="what .venv is needed for")
    extra = parser.parse_args().extra
    try:
        with lock():
            prepare(extra)
    except SetupError as error:
        fail(str(error), 1)
    except PermissionError as error:
        fail(f"{error.filename}: no permission; was .venv made by another user? Remove it, or run as that user", 1)
    except KeyboardInterrupt:
        fail("interrupted; the next run begins this set-up anew", 130)


def fail(text: str, code: int) -> NoReturn:
    say(text)
    sys.exit(code)


if __name__ == "__main__":
    main()
