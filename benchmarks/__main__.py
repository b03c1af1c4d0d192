"""All benchmarks, one after the other: `python -m benchmarks`; with `--quick` in under two minutes."""

from __future__ import annotations

import argparse

from benchmarks import (
    bench_decode,
    bench_encode,
    bench_frame,
    bench_growth,
    bench_idle,
    bench_latency,
    bench_pipeline,
    bench_rules,
    bench_sinks,
    bench_snapshot,
    bench_stages,
    bench_start,
    bench_synchronous,
    cases,
)


def main() -> None:
    """Each prints its table and leaves its record in benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small workloads and fewer rounds")
    quick = parser.parse_args().quick
    for name, module in (("decode", bench_decode), ("encode", bench_encode), ("frame", bench_frame)):
        cases.main(name, module.cases, quick=quick)
    bench_rules.main(quick=quick)
    bench_latency.main(quick=quick)
    bench_start.main(quick=quick)
    bench_stages.main(quick=quick)
    bench_idle.main(quick=quick)
    bench_synchronous.main(quick=quick)
    bench_snapshot.main(quick=quick)
    bench_growth.main(quick=quick)
    bench_pipeline.main(quick=quick)
    bench_sinks.main(quick=quick)


if __name__ == "__main__":
    main()
