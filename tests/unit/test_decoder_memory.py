"""Decoding again and again takes no more memory than decoding once: the compiled core frees what it takes."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from ditto.errors import DecodeError
from ditto.formats.ditto import DittoFormat
from unit import captured

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.implementations import Implementation

STATUS = Path("/proc/self/status")
WARM_UP = 50
ROUNDS = 200
BOUND = 1_000_000
"""Bytes. A leak of one value in a thousand would show: each round holds some 500 values, or 100 kB."""


ATTEMPTS = 4


def own_bytes() -> int:
    """The process's own memory. Its resident size counts pages of files, too, which a busy machine takes and gives back
    at any time: that is where 1 MB more came from now and then.
    """
    if STATUS.exists():
        found = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return 1024 * sum(int(found[name].split()[0]) for name in ("RssAnon", "VmSwap"))
    return psutil.Process().memory_info().rss


def growth(work: Callable[[], None]) -> int:
    """By how much the process is larger after many rounds, in bytes: the least of some attempts. A leak is in each of
    them; the allocator takes memory ahead, and from threads of other tests' libraries, in one of them.
    """
    for _ in range(WARM_UP):
        work()
    least = sys.maxsize
    for _ in range(ATTEMPTS):
        gc.collect()
        before = own_bytes()
        for _ in range(ROUNDS):
            work()
        gc.collect()
        least = min(least, own_bytes() - before)
        if least < BOUND:
            break
    return least


@pytest.mark.parametrize("name", ["types", "changes"])
def test_decoding(impl: Implementation, name: str) -> None:
    frames = captured.frames("18", name)

    def work() -> None:
        DittoFormat().encode(impl.decode(frames))

    assert growth(work) < BOUND


def test_errors(impl: Implementation) -> None:
    frames = captured.frames("18", "types")
    inserts = [frame for frame in frames if frame[25:26] == b"I"]
    before = frames[: frames.index(inserts[0])]
    broken = [inserts[0][:-length] for length in range(1, 60, 8)] + [inserts[0].replace(b"fine", b"\xff\xff\xff\xff")]

    def work() -> None:
        decoder = impl.decoder()
        for frame in before:
            decoder.feed(frame)
        for frame in broken:
            with suppress(DecodeError):
                decoder.feed(frame)

    assert growth(work) < BOUND
