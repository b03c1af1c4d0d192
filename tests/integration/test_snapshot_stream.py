"""Rows through a real COPY, and the places at which a real stream stops: on both decoders."""

from __future__ import annotations

import select
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import pq
from psycopg.rows import scalar_row
from unit import wire
from unit.implementations import IMPLEMENTATIONS, Implementation, Rows, pass_all, positions
from unit.test_snapshot_rows import contents

from ditto.decoding import snapshot_rows
from ditto.decoding.choose import IMPL
from ditto.decoding.messages import MARKER_PREFIX, SNAPSHOT_PREFIX
from ditto.decoding.transaction_snapshot import TxSnapshot
from ditto.errors import ConnectionLost
from ditto.lsn import parse_lsn
from ditto.testing.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.pq.abc import PGconn
    from unit.implementations import Decoder

    from ditto.decoding.messages import Block

_DEADLINE_S = 30
ON_BOTH = pytest.mark.parametrize("impl", IMPLEMENTATIONS, ids=lambda impl: impl.name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("pg")) as made:
        yield made


@pytest.fixture
def pgconn(server: PostgresServer) -> Iterator[PGconn]:
    made = pq.PGconn.connect(server.dsn.encode())
    made.nonblocking = 1
    yield made
    made.finish()


def copy(pgconn: PGconn, query: str) -> None:
    pgconn.send_query(f"COPY ({query}) TO STDOUT".encode())
    while pgconn.flush():
        select.select([], [pgconn.socket], [], 1)
    while pgconn.is_busy():
        select.select([pgconn.socket], [], [], 1)
        pgconn.consume_input()
    result = pgconn.get_result()
    assert result is not None
    assert result.status == pq.ExecStatus.COPY_OUT


def drain(rows: Rows, pgconn: PGconn, *, max_bytes: int = 1 << 20) -> list[int]:
    """Read to the end; returns how many rows each call took."""
    deadline = time.monotonic() + _DEADLINE_S
    counts = [0]
    is_ended = False
    while not is_ended:
        assert time.monotonic() < deadline
        is_ended = rows.read(pgconn, max_bytes=max_bytes)
        counts.append(rows.count)
        if rows.is_drained and not is_ended:
            select.select([pgconn.socket], [], [], 1)
    return [after - before for before, after in pairwise(counts)]


def test_rows_are_of_the_decoders_implementation() -> None:
    assert snapshot_rows.Rows is IMPLEMENTATIONS[IMPL == "python"].make_rows


TEXTS = r"""SELECT t, t || 'ü' || t, nullif(t, '') FROM
unnest(ARRAY['', 'a', '\N', '\.', E'\b\f\n\r\t\v', E'\\', '\t', 'é', E'\x7f']) t"""


@ON_BOTH
def test_postgresqls_text_is_read_back(impl: Implementation, server: PostgresServer, pgconn: PGconn) -> None:
    copy(pgconn, TEXTS)
    rows = impl.make_rows(3)
    drain(rows, pgconn)
    with psycopg.connect(server.dsn) as session:
        expected = session.execute(TEXTS).fetchall()
    assert contents(rows) == [wire.row(list(row)) for row in expected]
    result = pgconn.get_result()
    assert result is not None
    assert result.status == pq.ExecStatus.COMMAND_OK


@ON_BOTH
def test_many_rows_come_in_pieces(impl: Implementation, pgconn: PGconn) -> None:
    copy(pgconn, "SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i")
    rows = impl.make_rows(2)
    counts = drain(rows, pgconn, max_bytes=50_000)
    # A row has 103 bytes or more. How many calls stop earlier, because nothing has arrived, is the server's affair.
    assert max(counts) <= 50_000 // 103 + 1
    assert [rows.key(index, (0,)) for index in (0, 9_999, 19_999)] == [["1"], ["10000"], ["20000"]]
    assert rows.count == 20_000


@ON_BOTH
def test_a_copy_that_fails_ends_and_its_result_says_why(impl: Implementation, pgconn: PGconn) -> None:
    copy(pgconn, "SELECT 1 / (5000 - i) FROM generate_series(1, 9999) i")
    rows = impl.make_rows(1)
    drain(rows, pgconn)
    result = pgconn.get_result()
    assert result is not None
    assert b"division by zero" in (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"")


@ON_BOTH
def test_a_connection_that_breaks_is_an_error(impl: Implementation, server: PostgresServer, pgconn: PGconn) -> None:
    copy(pgconn, "SELECT i, repeat('x', 1000) FROM generate_series(1, 1000000) i")
    with psycopg.connect(server.dsn, autocommit=True) as session:
        session.execute("SELECT pg_terminate_backend(%s, 10000)", [pgconn.backend_pid])
    with pytest.raises(ConnectionLost, match="the connection that reads rows"):
        drain_what_is_left(impl.make_rows(2), pgconn)


def drain_what_is_left(rows: Rows, pgconn: PGconn) -> None:
    """Either the socket ends, or the server's last words end the COPY, and its result says why."""
    drain(rows, pgconn)
    result = pgconn.get_result()
    assert result is not None
    assert result.status == pq.ExecStatus.FATAL_ERROR
    raise ConnectionLost("the connection that reads rows was ended")


# ------------------------------------------------------------------------------------- the stream


class Stream:
    """A slot of its own, and a decoder that reads it."""

    def __init__(self, impl: Implementation, dsn: str) -> None:
        self.decoder: Decoder = impl.bare_decoder()
        self.pgconn = pq.PGconn.connect(psycopg.conninfo.make_conninfo(dsn, replication="database").encode())
        start = b"START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p', messages 'true')"
        assert self.pgconn.exec_(start).status == pq.ExecStatus.COPY_BOTH
        self.pgconn.nonblocking = 1

    def next(self) -> Block:
        """The next block with a change, a message or the barrier."""
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            block = self.decoder.read(self.pgconn, max_events=100, max_bytes=1 << 20)
            if block.relation is not None:
                self.decoder.define(block.relation.oid, pass_all(block.relation))
            if block.changes or block.message is not None or block.is_at_barrier:
                return block
            if block.is_drained:
                select.select([self.pgconn.socket], [], [], 1)
        raise TimeoutError("nothing came")


@pytest.fixture
def table(server: PostgresServer) -> Iterator[psycopg.Connection[object]]:
    with psycopg.connect(server.dsn, autocommit=True, row_factory=scalar_row) as session:
        session.execute("CREATE TABLE t (id int PRIMARY KEY, note text)")
        session.execute("CREATE PUBLICATION p FOR TABLE t")
        session.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        yield session
        session.execute("SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE active")
        session.execute("SELECT pg_drop_replication_slot('s')")
        session.execute("DROP PUBLICATION p")
        session.execute("DROP TABLE t")


@ON_BOTH
def test_a_stream_stops_at_messages_inside_of_their_transaction(
    impl: Implementation, server: PostgresServer, table: psycopg.Connection[object]
) -> None:
    stream = Stream(impl, server.dsn)
    with table.transaction():
        xid = table.execute("SELECT pg_current_xact_id()::text").fetchone()
        table.execute("INSERT INTO t VALUES (1)")
        table.execute("SELECT pg_logical_emit_message(true, %s, 'start')", [SNAPSHOT_PREFIX])
        table.execute("INSERT INTO t VALUES (2)")
        table.execute("SELECT pg_logical_emit_message(true, %s, 'token')", [MARKER_PREFIX])
    table.execute("SELECT pg_logical_emit_message(false, %s, 'not in a transaction')", [MARKER_PREFIX])
    table.execute("INSERT INTO t VALUES (3)")
    # A block ends at a message, and wherever nothing more has arrived.
    found: list[int | bytes] = []
    messages, commit_lsns = [], []
    while 3 not in found:
        block = stream.next()
        found += [change.data["id"] for change in block.changes]
        commit_lsns += [position.commit_lsn for position in positions(block)]
        if block.message is not None:
            found.append(block.message.content)
            messages.append(block.message)
    assert found == [1, b"start", 2, b"token", 3]
    assert [(each.prefix, each.ordinal) for each in messages] == [(SNAPSHOT_PREFIX, 2), (MARKER_PREFIX, 4)]
    assert str(messages[0].xid) == xid
    assert messages[0].commit_lsn == commit_lsns[0]


@ON_BOTH
def test_a_stream_stops_at_a_barrier_and_goes_on(
    impl: Implementation, server: PostgresServer, table: psycopg.Connection[object]
) -> None:
    stream = Stream(impl, server.dsn)
    table.execute("INSERT INTO t VALUES (1)")
    barrier = parse_lsn(str(table.execute("SELECT pg_current_wal_insert_lsn()").fetchone()))
    stream.decoder.stop_before(barrier)
    table.execute("INSERT INTO t VALUES (2)")
    found: list[int] = []
    while not (block := stream.next()).is_at_barrier:
        found += [change.data["id"] for change in block.changes]
    found += [change.data["id"] for change in block.changes]
    assert found == [1]
    assert block.idle_lsn < barrier
    assert stream.next().is_at_barrier
    stream.decoder.stop_before(0)
    assert [change.data["id"] for change in stream.next().changes] == [2]


@ON_BOTH
def test_a_server_that_is_idle_reaches_a_barrier(
    impl: Implementation, server: PostgresServer, table: psycopg.Connection[object]
) -> None:
    stream = Stream(impl, server.dsn)
    table.execute("INSERT INTO t VALUES (1)")
    stream.decoder.stop_before(parse_lsn(str(table.execute("SELECT pg_current_wal_insert_lsn()").fetchone())))
    block = stream.next()
    assert [change.data["id"] for change in block.changes] == [1]
    assert (block if block.is_at_barrier else stream.next()).is_at_barrier


@ON_BOTH
def test_a_snapshot_tells_what_has_to_be_recorded(
    impl: Implementation, server: PostgresServer, table: psycopg.Connection[object]
) -> None:
    stream = Stream(impl, server.dsn)
    oid = table.execute("SELECT 't'::regclass::oid::int8").fetchone()
    assert isinstance(oid, int)
    stream.decoder.record(oid, (0,))
    with psycopg.connect(server.dsn) as other:
        other.execute("INSERT INTO t VALUES (1, 'begun before, committed after')")
        table.execute("INSERT INTO t VALUES (2, 'committed before')")
        snapshot = TxSnapshot.parse(str(table.execute("SELECT pg_current_snapshot()::text").fetchone()))
        other.commit()
    table.execute("INSERT INTO t VALUES (3, 'begun after')")
    found: list[int] = []
    while len(found) < 3:
        found += [change.data["id"] for change in stream.next().changes]
    assert found == [2, 1, 3]
    assert len(stream.decoder.recorded) == 3
    stream.decoder.record_invisible(snapshot)
    assert [message[:1] + message[5:] for _, message in stream.decoder.recorded] == [
        b"IN" + wire.row(["1", "begun before, committed after"]),
        b"IN" + wire.row(["3", "begun after"]),
    ]
