"""What a chunk and a marker promise: nothing is read of a table that has changed, sizes are bounded, nobody is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import conninfo

from ditto.decoding.messages import Moved
from ditto.errors import AccessDenied, ConnectionLost, DecodeError, SnapshotRefused
from ditto.source.copy_out import CopyOut
from ditto.source.snapshot_transaction import TableChanged
from ditto.source.snapshot_where import check_where
from e2e.process import eventually
from e2e.snapshots.database import cells, read_all
from e2e.snapshots.test_described import INTO_PARTITIONS, PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ditto.source.blockers import Blocker
    from ditto.source.snapshot_chunk import Chunk
    from ditto.source.snapshot_reader import SnapshotReader
    from ditto.source.snapshot_table import SnapshotTable
    from e2e.snapshots.database import Database

TABLE = "CREATE TABLE t (id int PRIMARY KEY, a text)"
ROWS = "INSERT INTO t SELECT n, 'x' || n FROM generate_series(1, 100) AS n"


async def chunk_of(reader: SnapshotReader, table: SnapshotTable, **options: Any) -> Chunk:
    given: dict[str, Any] = {"cursor": None, "where": "", "max_rows": 10, "max_bytes": 1 << 20, **options}
    return await reader.read_chunk(table, **given)


@pytest.mark.parametrize(
    "change",
    [
        "TRUNCATE t",
        "ALTER TABLE t ALTER id TYPE bigint",
        "ALTER TABLE t ADD b int",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "VACUUM FULL t",
        "DROP TABLE t",
        "ALTER PUBLICATION pub SET TABLE other",
    ],
)
async def test_a_changed_table_is_not_read(database: Database, change: str) -> None:
    database.sql(TABLE, ROWS, "CREATE TABLE other (id int PRIMARY KEY)")
    database.publish("FOR TABLE t")
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        assert await reader.emit_marker(table, "before")
        database.sql(change)
        with pytest.raises(TableChanged):
            await chunk_of(reader, table)
        assert not await reader.emit_marker(table, "after")
        messages = database.sql(
            f"SELECT data FROM pg_logical_slot_peek_binary_changes('{database.name}', NULL, NULL, "
            "'proto_version', '1', 'publication_names', 'pub', 'messages', 'true')"
        )
        found = [bytes(data) for (data,) in messages if bytes(data[:1]) == b"M"]
        assert len(found) == 1
        assert found[0].endswith(b"before")
        assert b"ditto.marker" in found[0]
        # The connection is ready for the next table.
        if change.startswith("ALTER TABLE t ADD"):
            assert (await chunk_of(reader, await reader.describe("pub", "public", "t"))).rows.count == 10


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.mark.parametrize("change", ["TRUNCATE t", "ALTER TABLE t ALTER id TYPE bigint"])
async def test_the_snapshot_comes_after_the_lock(database: Database, change: str) -> None:
    """Otherwise the chunk would find an empty table: these are not safe under a snapshot that is older."""
    database.sql(TABLE, ROWS)
    database.publish()
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        with database.connect() as holder, psycopg.connect(database.dsn, autocommit=True) as observer:
            holder.execute(change.encode())
            reading = asyncio.create_task(chunk_of(reader, table))
            waiting = asyncio.get_running_loop().time() + 20
            while observer.execute(WAITING).fetchall() == [(0,)]:
                assert asyncio.get_running_loop().time() < waiting
                await asyncio.sleep(0.005)
            holder.commit()  # the reader gets its lock, in the same transaction
            with pytest.raises(TableChanged):
                await reading


async def test_nobody_queues_behind_a_reader_that_waits(database: Database) -> None:
    database.sql(TABLE, ROWS)
    database.publish()
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        told: list[Sequence[Blocker]] = []
        with database.connect() as holder:
            pid = holder.info.backend_pid
            holder.execute("LOCK TABLE t")
            reading = asyncio.create_task(chunk_of(reader, table, tell=told.append))
            await eventually(lambda: bool(told), "somebody holds a lock")
            assert database.value(WAITING) == 0
            holder.rollback()
            assert (await reading).rows.count == 10
    assert [[blocker.pid for blocker in each] for each in told[:1]] == [[pid]]
    assert told[-1] == ()


async def test_no_transaction_is_left_open(database: Database) -> None:
    database.sql(TABLE, ROWS)
    database.publish()
    state = "SELECT string_agg(state, ',') FROM pg_stat_activity WHERE application_name = 'ditto'"
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        assert database.value(state) == "idle"
        chunk = await chunk_of(reader, table)
        assert 0 < chunk.took_s < 5
        assert database.value(state) == "idle"
        await reader.emit_marker(table, "x")
        assert database.value(state) == "idle"
        with pytest.raises(SnapshotRefused):
            await chunk_of(reader, table, where="1 / 0 = 1")
        assert database.value(state) == "idle"
        assert (await chunk_of(reader, table)).rows.count == 10


async def test_rows_of_any_size(database: Database) -> None:
    limit = 200_000
    database.sql(TABLE, "ALTER TABLE t ALTER a SET STORAGE EXTERNAL")
    database.publish()
    database.sql(
        "INSERT INTO t SELECT n, repeat('x', CASE WHEN n <= 3000 THEN 10 WHEN n = 3100 THEN 2000000 ELSE 20000 END) "
        "FROM generate_series(1, 3200) AS n",
        "ANALYZE t",
    )
    sizes, ids = [], []
    cursor: list[str] | None = None
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        while True:
            chunk = await chunk_of(reader, table, cursor=cursor, max_rows=100_000, max_bytes=limit)
            sizes.append(chunk.rows.size)
            ids += [int(row[0] or 0) for row in cells(chunk, table)]
            if chunk.is_last:
                break
            cursor = chunk.cursor
    assert ids == list(range(1, 3201))
    assert max(sizes) < 2_000_000 + 3 * limit
    assert sorted(sizes)[-2] < 2 * limit + 50_000


async def test_a_filter_does_not_make_a_chunk_long(database: Database) -> None:
    """A chunk looks at as many rows as it may have, and its cursor is the last of these."""
    database.sql(TABLE, ROWS)
    database.publish("FOR TABLE t" + (" WHERE (id < 90)" if database.major >= 15 else ""))
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        where = check_where("a = 'x35' or ID > 85", table)
        cursors, found = [], []
        cursor: list[str] | None = None
        while True:
            chunk = await chunk_of(reader, table, cursor=cursor, where=where)
            found += [row[0] for row in cells(chunk, table)]
            cursors.append(chunk.cursor)
            if chunk.is_last:
                break
            cursor = chunk.cursor
    last = 89 if database.major >= 15 else 100
    assert found == ["35", *map(str, range(86, last + 1))]
    assert cursors[:9] == [[str(n)] for n in range(10, 100, 10)]


async def test_conditions_on_a_real_server(database: Database) -> None:
    database.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'happy')",
        "CREATE FUNCTION steal(mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'stolen'; END $$",
        "CREATE CAST (mood AS text) WITH FUNCTION steal(mood) AS IMPLICIT",
        'CREATE TABLE t (id int PRIMARY KEY, "A b" text, ts timestamptz, m mood, n numeric, ok bool)',
        "INSERT INTO t SELECT n, 'x' || n, now() - n * interval '1 hour', 'happy', n / 3.0, n % 2 = 0 "
        "FROM generate_series(1, 50) AS n",
        "UPDATE t SET m = 'sad' WHERE id = 7",
    )
    database.publish()
    counts = {
        "\"A b\" like 'x1_'": 10,
        "\"A b\" NOT LIKE 'x1_' AND NOT ok": 20,
        "ts > now() - interval '10 hours' - interval '30 minutes'": 10,
        "date_trunc('day', ts) > '2000-01-01'": 50,
        "m = 'sad'": 1,
        "n between 1 and 2 and id % 2 = 0": 2,
        "abs(-n) >= 10.0 and upper(\"A b\") <> 'X50'": 20,
        "coalesce(\"A b\", 'y') in ('x1', 'x2') or id::text = '9'": 3,
        "n is null": 0,
        'length(lower("A b")) = 2 and ok is true': 4,
        "id is distinct from 3": 49,
    }
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        for text, count in counts.items():
            rows = await read_all(reader, table, where=check_where(text, table))
            assert len(rows) == count, text
        for text in ("n", "ok > 3", '"A b" + 1 = 2'):
            with pytest.raises(SnapshotRefused, match=r"public\.t"):
                await read_all(reader, table, where=check_where(text, table))
        with pytest.raises(SnapshotRefused, match="invalid text representation") as caught:
            await read_all(reader, table, where=check_where('"A b"::int > 3', table))
        assert "x1" not in str(caught.value), "no value of a row"


async def test_rows_that_moved(database: Database) -> None:
    database.sql("CREATE TABLE t (a int, b text, v text, PRIMARY KEY (a, b))")
    database.publish()
    database.sql("INSERT INTO t SELECT n, 'k', 'v' || n FROM generate_series(1, 40) AS n")
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        first = await chunk_of(reader, table)
        assert first.cursor == ["10", "k"]
        xid = database.sql("UPDATE t SET a = 5, b = 'moved' WHERE a = 30 RETURNING txid_current() % (2 ^ 32)::bigint")[
            0
        ][0]
        database.sql("UPDATE t SET a = 35, b = 'forward' WHERE a = 1")
        unseen = database.value("SELECT txid_current() % (2 ^ 32)::bigint") + 1000
        moves = [
            Moved(xid, 1, ("5", "moved")),
            Moved(xid, 1, ("6", "never")),  # moved again, or deleted
            Moved(xid, 1, ("35", "forward")),  # after the cursor: it comes by itself
            Moved(unseen, 2, ("2", "k")),
        ]
        second = await chunk_of(reader, table, cursor=first.cursor, moved=moves)
        rows = cells(second, table)
        assert second.rows.moved_count == 1
        assert rows[-1] == ("5", "moved", "v30")
        assert [row[0] for row in rows[:-1]] == [str(n) for n in range(11, 21)]
        assert second.cursor == ["20", "k"]
        assert second.moved == moves[:3]
        # Before the first row nothing can have moved into what was read.
        again = await chunk_of(reader, table, moved=moves)
        assert (again.rows.moved_count, again.moved) == (0, moves[:3])
        # After the last chunk.
        end = await chunk_of(reader, table, cursor=["99", "z"], moved=moves)
        assert end.is_last
        assert (end.rows.count, end.rows.moved_count, end.cursor) == (2, 2, ["99", "z"])


async def test_partitions_and_children(database: Database) -> None:
    database.sql(*PARTITIONS, "CREATE TABLE parent (id int PRIMARY KEY)", "CREATE TABLE child () INHERITS (parent)")
    database.publish("FOR TABLE p, parent, ONLY child WITH (publish_via_partition_root)")
    database.sql(INTO_PARTITIONS, "INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (2)")
    async with database.reader() as reader:
        root = await reader.describe("pub", "public", "p")
        rows = await read_all(reader, root)
        assert [int(row[1] or 0) for row in rows] == list(range(1, 51))
        assert rows[2] == ("eu", "3", "x3")
        assert await reader.emit_marker(root, "x")
        assert await read_all(reader, await reader.describe("pub", "public", "parent")) == [("1",)]


async def test_very_many_columns(database: Database) -> None:
    names = ", ".join(f"c{n} int" for n in range(1599))
    database.sql(f"CREATE TABLE t (id int PRIMARY KEY, {names})")
    database.publish()
    database.sql("INSERT INTO t SELECT n FROM generate_series(1, 20) AS n")
    async with database.reader() as reader:
        rows = await read_all(reader, await reader.describe("pub", "public", "t"))
    assert [row[:2] for row in rows] == [(str(n), None) for n in range(1, 21)]


async def test_text_that_is_not_utf8_is_passed_on(database: Database) -> None:
    name = f"{database.name}_ascii"
    database.sql(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0", dsn=database.server.dsn)
    dsn = conninfo.make_conninfo(database.dsn, dbname=name)
    database.sql(
        'CREATE TABLE "ä" (id int PRIMARY KEY, a text)',
        "INSERT INTO \"ä\" VALUES (1, convert_from('\\xff41', 'SQL_ASCII'))",
        "CREATE PUBLICATION pub FOR ALL TABLES",
        dsn=dsn,
    )
    async with database.reader(dsn) as reader:
        table = await reader.describe("pub", "public", "ä")
        chunk = await chunk_of(reader, table)
        assert chunk.rows.row(0).endswith(b"\xffA")
        assert await reader.emit_marker(table, "x")
    database.sql(f"DROP DATABASE {name}", dsn=database.server.dsn)


async def test_waiting_says_for_whom(database: Database) -> None:
    database.sql(TABLE)
    told: list[list[str]] = []
    async with database.reader() as reader:
        with database.connect() as writer, database.connect() as other:
            other.execute("SELECT 1")  # reads only: nothing to wait for
            writer.execute("INSERT INTO t VALUES (1)")
            xid = writer.execute("SELECT txid_current() % (2 ^ 32)::bigint").fetchall()[0][0]
            waiting = asyncio.create_task(
                reader.wait_for(tell=lambda blockers: told.append([each.text for each in blockers]))
            )
            await eventually(lambda: bool(told), "the writer is named")
            assert not waiting.done()
            assert told[0][0].startswith(
                f"transaction {xid} of PID {writer.info.backend_pid} (idle in transaction), open"
            )
            writer.execute("PREPARE TRANSACTION 'later'")
            writer.commit()
            await eventually(lambda: "prepared transaction 'later'" in told[-1][0], "the prepared one is named")
            database.sql("ROLLBACK PREPARED 'later'")
            await asyncio.wait_for(waiting, 10)
    assert told[-1] == []
    assert all(len(each) <= 1 for each in told)


async def test_a_role_without_the_marker(database: Database) -> None:
    role = f"reader_{database.name}"
    more = ", boolean" if database.major >= 17 else ""
    function = f"pg_catalog.pg_logical_emit_message(boolean, text, text{more})"
    database.sql(
        TABLE,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT ON t TO {role}",
        f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC",
    )
    database.publish()
    async with database.reader(conninfo.make_conninfo(database.dsn, user=role)) as reader:
        table = await reader.describe("pub", "public", "t")
        with pytest.raises(AccessDenied, match="cannot mark a chunk of") as caught:
            await reader.emit_marker(table, "x")
        assert caught.value.hint == f'GRANT EXECUTE ON FUNCTION {function} TO "{role}"'
        database.sql(str(caught.value.hint))
        assert await reader.emit_marker(table, "x")
        assert (await chunk_of(reader, table)).is_last


async def test_a_connection_that_is_ended(database: Database) -> None:
    database.sql(TABLE, ROWS)
    database.publish()
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ditto'")
        with pytest.raises(ConnectionLost):
            await chunk_of(reader, table)


async def test_after_a_row_that_cannot_be_read_the_next_table_is_read(database: Database) -> None:
    name = f"{database.name}_ascii"
    database.sql(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0", dsn=database.server.dsn)
    dsn = conninfo.make_conninfo(database.dsn, dbname=name)
    database.sql(
        "CREATE TABLE t (id text PRIMARY KEY)",
        "INSERT INTO t VALUES (convert_from('\\xff41', 'SQL_ASCII'))",
        "CREATE TABLE u (id int PRIMARY KEY)",
        "INSERT INTO u SELECT generate_series(1, 5)",
        "CREATE PUBLICATION pub FOR ALL TABLES",
        dsn=dsn,
    )
    async with database.reader(dsn) as reader:
        with pytest.raises(SnapshotRefused, match="not UTF-8"):
            await chunk_of(reader, await reader.describe("pub", "public", "t"))
        assert (await chunk_of(reader, await reader.describe("pub", "public", "u"))).rows.count == 5
    database.sql(f"DROP DATABASE {name}", dsn=database.server.dsn)


async def test_a_copy_that_is_given_up_leaves_a_reader_that_works(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.sql(TABLE, ROWS)
    database.publish()
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")

        async def give_up(self: CopyOut, rows: object, *, max_bytes: int) -> None:
            raise DecodeError("bytes that are not a row")

        with monkeypatch.context() as patched:
            patched.setattr(CopyOut, "read", give_up)
            with pytest.raises(SnapshotRefused, match="bytes that are not a row"):
                await chunk_of(reader, table)
        assert (await chunk_of(reader, table)).rows.count == 10
