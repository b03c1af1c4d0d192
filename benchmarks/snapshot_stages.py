"""What a row of a snapshot costs, stage by stage, beside a COPY that nobody looks at: `bench_stages` runs it."""

from __future__ import annotations

import select
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from psycopg import pq
from rich.table import Table

from benchmarks.cores import FORMAT
from benchmarks.workloads import Workload
from ditto.decoding.choose import Decoder
from ditto.decoding.column_kinds import KINDS
from ditto.decoding.event_id import event_key
from ditto.decoding.messages import Column, Relation
from ditto.decoding.snapshot_rows import Rows
from ditto.pipeline.snapshots.limits import PIECE_BYTES, PIECE_ROWS
from ditto.routing.table_plans import Routes, TablePlan
from ditto.testing.servers import PostgresServer

STAGES: Final = ("COPY to rows", "READ changes", "encode")
"""Reading from libpq and taking COPY's text apart is one call; CPU time of the thread."""
_CHUNK_BYTES: Final = 4 << 20
_REPETITIONS: Final = 3


def measure(server: PostgresServer, workload: Workload) -> list[dict[str, Any]]:
    """Medians: ns a row by stage, and rows a second of the whole and of psql into /dev/null, in turn."""
    spent: dict[str, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    query = f"COPY (SELECT * FROM {workload.table} ORDER BY id) TO STDOUT"
    for _ in range(_REPETITIONS):
        began_at = time.perf_counter()
        _psql(server, query)
        rates["psql"].append(workload.rows / (time.perf_counter() - began_at))
        began_at = time.perf_counter()
        for stage, seconds in _read(server, workload, query).items():
            spent[stage].append(seconds / workload.rows * 1e9)
        rates["rows"].append(workload.rows / (time.perf_counter() - began_at))
    found = [
        {"workload": workload.name, "stage": stage, "ns": round(statistics.median(spent[stage]))} for stage in STAGES
    ]
    for name, rate in rates.items():
        found.append({"workload": workload.name, "stage": name, "rows_per_s": round(statistics.median(rate))})
    return found


def _psql(server: PostgresServer, query: str) -> None:
    command = [str(server.bin_dir / "psql"), "-X", "-q", "-d", server.dsn, "-c", query]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _read(server: PostgresServer, workload: Workload, query: str) -> dict[str, float]:
    """CPU seconds of each stage, for the whole table."""
    spent = dict.fromkeys(STAGES, 0.0)
    pgconn = pq.PGconn.connect(server.dsn.encode())
    try:
        plan = _plan(pgconn, workload)
        decoder = Decoder(id_key=event_key("7234567890123456789", "bench"))
        _begin(pgconn, query)
        lsn, count, is_ended = 1 << 40, 0, False
        while not is_ended:
            rows = Rows(len(plan.relation.columns))
            while not is_ended and rows.size < _CHUNK_BYTES:
                started = time.thread_time()
                is_ended = rows.read(pgconn, max_bytes=_CHUNK_BYTES)
                spent["COPY to rows"] += time.thread_time() - started
                if not is_ended and rows.is_drained:
                    select.select([pgconn.socket], [], [])
            count += _publish(decoder, plan, rows, lsn, spent)
            lsn += 8
        if count != workload.rows:
            raise RuntimeError(f"{count} rows of {workload.rows}")
    finally:
        pgconn.finish()
    return spent


def _publish(decoder: Decoder, plan: TablePlan, rows: Rows, lsn: int, spent: dict[str, float]) -> int:
    start = 0
    while start < rows.count:
        started = time.thread_time()
        stop = rows.piece(start, max_rows=PIECE_ROWS, max_bytes=PIECE_BYTES)
        block = decoder.read_block_of(
            plan,
            rows,
            start,
            stop,
            key=(0,),
            run="16B374D848-1",
            commit_lsn=lsn,
            commit_time="2026-01-01T00:00:00.000000Z",
            xid=700,
            first_ordinal=start + 1,
            moved_cursor=None,
        )
        made = time.thread_time()
        FORMAT.encode(block)
        spent["READ changes"] += made - started
        spent["encode"] += time.thread_time() - made
        start = stop
    return rows.count


def _plan(pgconn: pq.abc.PGconn, workload: Workload) -> TablePlan:
    result = pgconn.exec_(f"SELECT * FROM {workload.table} LIMIT 0".encode())
    columns = tuple(
        Column((result.fname(index) or b"").decode(), result.ftype(index), result.fmod(index), index == 0)
        for index in range(result.nfields)
    )
    kinds = bytes(KINDS.find(column.type_oid, "", "") for column in columns)
    subject = f"ditto_public_{workload.table}".encode()
    relation = Relation(1, "public", workload.table, "d", columns)
    return TablePlan(relation=relation, routes=Routes(*[subject] * 5), kinds=kinds)


def _begin(pgconn: pq.abc.PGconn, query: str) -> None:
    result = pgconn.exec_(query.encode())
    if result.status != pq.ExecStatus.COPY_OUT:
        raise RuntimeError(f"COPY did not start: {result.get_error_message()}")
    pgconn.nonblocking = 1


def table(results: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="A snapshot's rows", title_justify="left")
    made.add_column("")
    workloads = list(dict.fromkeys(each["workload"] for each in results))
    figures = {(each["workload"], each["stage"]): each["ns" if "ns" in each else "rows_per_s"] for each in results}
    for workload in workloads:
        made.add_column(workload, justify="right")
    for stage in STAGES:
        made.add_row(f"{stage}, ns of CPU a row", *(f"{figures[workload, stage]:,}" for workload in workloads))
    made.add_section()
    made.add_row("rows/s to payloads", *(f"{figures[workload, 'rows']:,}" for workload in workloads))
    made.add_row("rows/s of COPY by psql", *(f"{figures[workload, 'psql']:,}" for workload in workloads))
    made.add_row("ratio", *(f"{figures[workload, 'rows'] / figures[workload, 'psql']:.2f}" for workload in workloads))
    return made
