"""Records what pgoutput sends for the scripts in tests/data.

For each `NAME.sql` and the server's major version N it writes `pgN-NAME.bin`, the CopyData messages of the
replication connection, each after its length (4 bytes, big-endian), and `pgN-NAME.json`, the rows that the tables
hold in the end, as the server itself puts them into JSON. Needs no server: it starts one of each major version.
"""

from __future__ import annotations

import argparse
import json
import select
import struct
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import scalar_row

from ditto.errors import DittoError
from ditto.lsn import parse_lsn
from ditto.testing.servers import PostgresServer
from scripts.postgres_servers import MAJORS, bin_dir

DATA = Path(__file__).parents[1] / "tests" / "data"
DEADLINE_S = 60
# As the source sets them: what the text of a value looks like depends on it.
OPTIONS = (
    "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex -c timezone=UTC "
    "-c statement_timeout=0 -c lock_timeout=0"
)
STATUS = struct.pack("!cQQQqB", b"r", 0, 0, 0, 0, 1)  # nothing is flushed; answer at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("majors", nargs="*", type=int, default=MAJORS, help="default: all that are supported")
    for major in parser.parse_args().majors:
        with (
            tempfile.TemporaryDirectory() as folder,
            PostgresServer(Path(folder), settings={"fsync": "off"}, bin_dir=bin_dir(major)) as server,
        ):
            for script in sorted(DATA.glob("*.sql")):
                print(*record(server, script))


def record(server: PostgresServer, script: Path) -> list[str]:
    """Run one script in a database of its own; returns the names of the files that were written."""
    name = script.stem
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    dsn = make_conninfo(server.dsn, dbname=name)
    with psycopg.connect(dsn, autocommit=True, row_factory=scalar_row) as connection:
        major = connection.info.server_version // 10000
        connection.execute("SET timezone = UTC")
        connection.execute("CREATE PUBLICATION captured FOR ALL TABLES")
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
        for statement in statements(script.read_text()):
            connection.execute(statement.encode())
        (end_lsn,) = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()
        frames = read_slot(dsn, name, parse_lsn(end_lsn))
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY c.relname"
        ).fetchall()
        query = sql.SQL("SELECT to_jsonb(t) FROM {} t ORDER BY t.id")
        rows = {table: connection.execute(query.format(sql.Identifier(table))).fetchall() for table in tables}
    target = DATA / f"pg{major}-{name}.bin"
    target.write_bytes(b"".join(struct.pack("!I", len(frame)) + frame for frame in frames))
    expected = target.with_suffix(".json")
    expected.write_text(json.dumps(rows, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return [target.name, expected.name]


def statements(script: str) -> list[str]:
    """The script's statements: each ends with a semicolon at the end of a line."""
    found = [part.strip() for part in script.split(";\n")]
    return [statement for statement in found if statement]


def read_slot(dsn: str, slot: str, until_lsn: int) -> list[bytes]:
    """The CopyData messages of the slot, up to the keepalive that says there is nothing more before `until_lsn`."""
    connection = pq.PGconn.connect(
        make_conninfo(dsn, replication="database", client_encoding="UTF8", options=OPTIONS).encode()
    )
    command = (
        f'START_REPLICATION SLOT "{slot}" LOGICAL 0/0 '
        "(proto_version '1', publication_names 'captured', messages 'true')"
    )
    result = connection.exec_(command.encode())
    if result.status != pq.ExecStatus.COPY_BOTH:
        raise DittoError(f"cannot read slot {slot}: {result.get_error_message()}")
    frames: list[bytes] = []
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        length, data = connection.get_copy_data(1)
        if length > 0:
            frames.append(bytes(data))
            if frames[-1][:1] == b"k" and struct.unpack_from("!Q", frames[-1], 1)[0] >= until_lsn:
                connection.finish()
                return frames
        elif length < 0:
            raise DittoError(f"the server ended the COPY of slot {slot}")
        else:
            connection.put_copy_data(STATUS)
            connection.flush()
            select.select([connection.socket], [], [], 1)
            connection.consume_input()
    raise DittoError(f"slot {slot} did not reach the end within {DEADLINE_S} s")


if __name__ == "__main__":
    main()
