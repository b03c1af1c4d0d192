"""A Relation message ends what one call reads from a real connection, and the next call goes on after it."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import pq
from unit.implementations import IMPLEMENTATIONS, Implementation, pass_all

from ditto.errors import DecodeError
from ditto.testing.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg.pq.abc import PGconn
    from unit.implementations import Decoder

    from ditto.decoding.messages import Block

_DEADLINE_S = 30


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[PGconn]:
    """One that streams two tables' rows: two of `a`, one of `b`, one of `a` after ALTER TABLE."""
    with PostgresServer(tmp_path) as server:
        with psycopg.connect(server.dsn, autocommit=True) as session:
            session.execute("CREATE TABLE a (id int PRIMARY KEY)")
            session.execute("CREATE TABLE b (id int PRIMARY KEY)")
            session.execute("CREATE PUBLICATION p FOR ALL TABLES")
            session.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
            with session.transaction():
                session.execute("INSERT INTO a VALUES (1), (2)")
                session.execute("INSERT INTO b VALUES (3)")
            with session.transaction():
                session.execute("ALTER TABLE a ADD more text")
                session.execute("INSERT INTO a VALUES (4)")
        pgconn = pq.PGconn.connect(psycopg.conninfo.make_conninfo(server.dsn, replication="database").encode())
        try:
            start = b"START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')"
            assert pgconn.exec_(start).status == pq.ExecStatus.COPY_BOTH
            pgconn.nonblocking = 1
            yield pgconn
        finally:
            pgconn.finish()


def read(decoder: Decoder, pgconn: PGconn) -> Block:
    """The next block that has something."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        block = decoder.read(pgconn, max_events=100, max_bytes=1 << 20)
        if block.frame_count:
            return block
        select.select([pgconn.socket], [], [], 1)
    raise TimeoutError("nothing came")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS, ids=lambda impl: impl.name)
def test_a_relation_ends_the_block(impl: Implementation, connection: PGconn) -> None:
    decoder = impl.bare_decoder()
    found: list[object] = []
    while 4 not in found:
        block = read(decoder, connection)
        found += [change.data["id"] for change in block.changes]
        if block.relation is not None:
            assert not block.is_drained, "more is waiting behind it"
            found.append(block.relation.name)
            decoder.define(block.relation.oid, pass_all(block.relation))
    assert found == ["a", 1, 2, "b", 3, "a", 4]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS, ids=lambda impl: impl.name)
def test_going_on_without_the_plan_is_refused(impl: Implementation, connection: PGconn) -> None:
    decoder = impl.bare_decoder()
    while read(decoder, connection).relation is None:
        pass
    with pytest.raises(DecodeError, match="not defined"):
        read(decoder, connection)
