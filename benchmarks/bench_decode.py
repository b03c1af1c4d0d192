"""CopyData frames to events: `python -m benchmarks.bench_decode`, or pytest.

One call a frame from Python, which the product does not make: it drains libpq inside the core.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import cores
from benchmarks.capture import ROWS, captured
from benchmarks.cases import Case, main, under_pytest


def cases() -> Iterator[Case]:
    """Both cores on every shape."""
    for shape, frames in captured().items():
        for core in cores.CORES:
            yield Case("decode", shape, core.name, functools.partial(cores.decode, core, frames))


@pytest.mark.parametrize("core", cores.CORES, ids=lambda core: core.name)
@pytest.mark.parametrize("shape", ROWS)
def test_decode(benchmark: BenchmarkFixture, shape: str, core: cores.Core) -> None:
    frames = captured()[shape]
    run = functools.partial(cores.decode, core, frames)
    under_pytest(benchmark, run, group=f"decode {shape}", expected=ROWS[shape])


if __name__ == "__main__":
    main("decode", cases)
