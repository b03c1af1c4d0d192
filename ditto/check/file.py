"""The file that events are appended to: folder, free space, lock, and how far it is."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ditto.check.finding import Finding, bad, ok
from ditto.check.place import compare_sink
from ditto.sinks.file.sink import FileSink
from ditto.units import size

if TYPE_CHECKING:
    from ditto.check.source import Source
    from ditto.config import Config

_LEAST_FREE: Final = 1 << 30
_LEAST_SHARE: Final = 0.05


async def check_file(
    config: Config, source: Source | None, found: list[Finding], monitor_url: str | None, *, is_running: bool
) -> None:
    """See `check.choose`."""
    del monitor_url
    if config.file is None:
        raise RuntimeError("there is no section file")
    if config.file.path == "-":
        why = "nothing is found again there: after a restart the last transaction comes once more"
        found.append(ok("file.path", "the events go to standard output", why))
        return
    path = await asyncio.to_thread(Path(config.file.path).absolute)
    usable = await asyncio.to_thread(check_path, path)
    found.append(usable)
    if usable.level == "error":
        return
    found.append(await asyncio.to_thread(check_space, path))
    is_active = source is not None and source.slot is not None and source.slot.active_pid is not None
    if not is_running and not is_active:
        found.append(await asyncio.to_thread(check_lock, path))
    if not is_running:
        found += await compare_sink(config, source, FileSink(config, clock=time.monotonic))


def check_path(path: Path) -> Finding:
    """Whether this user can append to the file, or create it."""
    check, why = "file.path", "every event is appended there, and the folder is synchronised too"
    try:
        return _checked_path(path, check, why)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        return bad("error", check, f"{path} cannot be used: {error.strerror}", f"{why}; give file.path another path")


def _checked_path(path: Path, check: str, why: str) -> Finding:
    folder = path.parent
    if not folder.is_dir():
        return bad("error", check, f"there is no folder {folder}", why, command=f"mkdir -p {shlex.quote(str(folder))}")
    if path.exists() and not path.is_file():
        return bad("error", check, f"{path} is not a regular file", f"{why}; give file.path the path of a file")
    wanted = [(folder, os.R_OK | os.X_OK, "read"), *([(path, os.R_OK | os.W_OK, "read and write")] * path.exists())]
    if not path.exists():
        wanted.append((folder, os.W_OK, "create a file in"))
    for each, mode, doing in wanted:
        if not os.access(each, mode):
            return bad("error", check, f"this user may not {doing} {each}", f"{why}; ditto run needs that right")
    if path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK))
    else:
        _try_to_create(path)
    state = "can be appended to" if path.exists() else "can be created"
    return ok(check, f"file {path} {state}", why)


def _try_to_create(path: Path) -> None:
    """Raises OSError where no file can be created beside it, as in /proc, whatever its rights say.

    A file without a name, where the file system knows that; otherwise one that is there for a moment.
    """
    flags = os.O_RDWR | os.O_CLOEXEC
    if unnamed := getattr(os, "O_TMPFILE", 0):
        try:
            os.close(os.open(path.parent, flags | unnamed, 0o600))
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
                raise
        else:
            return
    name = path.with_name(f".ditto-check-{os.getpid()}")
    os.close(os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600))
    name.unlink()


def check_space(path: Path) -> Finding:
    """How much more the file system takes."""
    check, why = (
        "file.space",
        "where it is full, Ditto waits, and the slot retains WAL: the file grows until it is rotated",
    )
    found = os.statvfs(path.parent)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    what = f"{size(free)} of {size(total)} are free on the file system of {path.parent}"
    if free < _LEAST_FREE or free < _LEAST_SHARE * total:
        return bad("warning", check, what, why)
    return ok(check, what, why)


def check_lock(path: Path) -> Finding:
    """Whether the file system knows locks, and nobody has this one: it is taken for a moment."""
    check, why = "file.lock", "the lock is what keeps a second writer out"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return ok(check, "there is no file to lock yet", why)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        what = f"another process has locked file {path}, and nobody reads the slot"
        return bad("warning", check, what, f"{why}: ditto run waits until that process has ended")
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "an error")
        what = f"file {path} cannot be locked ({name})"
        return bad("warning", check, what, f"{why}: see to it that only one Ditto is started")
    finally:
        os.close(descriptor)
    return ok(check, f"file {path} can be locked", why)
