"""CopyData frames as a real PostgreSQL sends them: the same bytes for every decoder."""

from __future__ import annotations

import functools
import select
import tempfile
from pathlib import Path
from typing import Final

import psycopg
from psycopg.pq import ExecStatus, PGconn

from benchmarks.workloads import SHAPES, Workload
from ditto.testing.servers import PostgresServer

ROWS: Final = {"narrow": 10_000, "trades": 10_000, "wide": 1_000, "updates": 5_000, "arrays": 5_000}
_ROWS_PER_TRANSACTION: Final = 100
_TAG_AT: Final = 25
"""After `w` and three 8-byte fields comes the tag of the pgoutput message."""
_SILENCE_S: Final = 30


@functools.cache
def captured() -> dict[str, list[bytes]]:
    """The frames of every shape, each with its relations and transactions; captured once for a process."""
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-") as folder,
        PostgresServer(Path(folder), settings={"fsync": "off", "autovacuum": "off"}) as server,
    ):
        return {
            name: _capture(server, Workload(SHAPES[name], rows, _ROWS_PER_TRANSACTION)) for name, rows in ROWS.items()
        }


def _capture(server: PostgresServer, workload: Workload) -> list[bytes]:
    slot = workload.table
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        workload.prepare(connection)
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        workload.write(connection)
        frames = _read(server.dsn, slot, workload)
        connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        workload.remove(connection)
    return frames


def _read(dsn: str, slot: str, workload: Workload) -> list[bytes]:
    options = "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex -c timezone=UTC"
    parameters = psycopg.conninfo.make_conninfo(dsn, replication="database", client_encoding="UTF8", options=options)
    pgconn = PGconn.connect(parameters.encode())
    frames: list[bytes] = []
    row_count = 0
    try:
        command = f"START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names '{workload.table}')"
        result = pgconn.exec_(command.encode())
        if result.status != ExecStatus.COPY_BOTH:
            raise RuntimeError(f"replication did not start: {result.get_error_message()}")
        while True:
            size, data = pgconn.get_copy_data(1)
            if size < 0:
                raise RuntimeError("the server ended the replication stream")
            if size == 0:
                if not select.select([pgconn.socket], [], [], _SILENCE_S)[0]:
                    raise RuntimeError(f"{workload.name}: silence after {row_count} rows")
                pgconn.consume_input()
            elif data[0] == ord("w"):
                frames.append(bytes(data))
                row_count += data[_TAG_AT] in b"IU"
                if row_count == workload.rows and data[_TAG_AT] == ord("C"):
                    return frames
    finally:
        pgconn.finish()
        with psycopg.connect(dsn, autocommit=True) as control:
            _wait_until_free(control, slot)


def _wait_until_free(control: psycopg.Connection[tuple[object, ...]], slot: str) -> None:
    # The walsender notices that its client is gone; terminating it is only quicker.
    control.execute(
        "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE slot_name = %s AND active",
        [slot],
    )
