"""Events to JSON, alone and together with decoding: `python -m benchmarks.bench_encode`, or pytest.

Encoding is the same code for both cores; alone it differs only by what the decoders put into the events.
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
            decoded = cores.blocks(core, frames)
            yield Case("encode", shape, core.name, functools.partial(cores.encode, decoded))
            both = functools.partial(cores.decode_and_encode, core, frames)
            yield Case("decode + encode", shape, core.name, both)


@pytest.mark.parametrize("core", cores.CORES, ids=lambda core: core.name)
@pytest.mark.parametrize("shape", ROWS)
def test_encode(benchmark: BenchmarkFixture, shape: str, core: cores.Core) -> None:
    decoded = cores.blocks(core, captured()[shape])
    run = functools.partial(cores.encode, decoded)
    under_pytest(benchmark, run, group=f"encode {shape}", expected=ROWS[shape])


@pytest.mark.parametrize("core", cores.CORES, ids=lambda core: core.name)
@pytest.mark.parametrize("shape", ROWS)
def test_decode_and_encode(benchmark: BenchmarkFixture, shape: str, core: cores.Core) -> None:
    frames = captured()[shape]
    run = functools.partial(cores.decode_and_encode, core, frames)
    under_pytest(benchmark, run, group=f"decode + encode {shape}", expected=ROWS[shape])


if __name__ == "__main__":
    main("encode", cases)
