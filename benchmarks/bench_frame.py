"""Encoded changes to HPUB messages: `python -m benchmarks.bench_frame`, or pytest."""

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
        decoded = cores.blocks(cores.CORES[0], frames)
        payloads = [cores.FORMAT.encode(block) for block in decoded]
        for core in cores.CORES:
            yield Case("frame", shape, core.name, functools.partial(cores.frame, core, decoded, payloads))


@pytest.mark.parametrize("core", cores.CORES, ids=lambda core: core.name)
@pytest.mark.parametrize("shape", ROWS)
def test_frame(benchmark: BenchmarkFixture, shape: str, core: cores.Core) -> None:
    decoded = cores.blocks(cores.CORES[0], captured()[shape])
    payloads = [cores.FORMAT.encode(block) for block in decoded]
    run = functools.partial(cores.frame, core, decoded, payloads)
    under_pytest(benchmark, run, group=f"frame {shape}", expected=ROWS[shape])


if __name__ == "__main__":
    main("frame", cases)
