"""A whole table at one position: compared with the stream replayed up to it; and what happens when the server waits."""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ditto.decoding.pure.cells import read_cells
from ditto.decoding.pure.cursor import Cursor
from ditto.errors import SnapshotRefused
from ditto.source import exact_cut as module
from ditto.source.exact_cut import exact_cut
from ditto.source.snapshot_transaction import TableChanged
from ditto.source.snapshot_where import check_where
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ditto.decoding.snapshot_rows import Rows
    from ditto.source.blockers import Blocker
    from e2e.snapshots.database import Database

CUTS = 25
WRITERS = 4
TABLE = "CREATE TABLE t (id int, n int)"
COMMIT_LSN = struct.Struct("!Q")


def texts(rows: Rows, count: int = 2) -> Iterator[tuple[str, ...]]:
    for index in range(rows.count):
        yield tuple(bytes(cell).decode() for cell in read_cells(Cursor(rows.row(index)), count))  # type: ignore[arg-type]


class Replay:
    """The table, row by row, as the changes of the slot make it."""

    def __init__(self, database: Database) -> None:
        self._messages = [
            bytes(data)
            for (data,) in database.sql(
                f"SELECT data FROM pg_logical_slot_peek_binary_changes('{database.name}', NULL, NULL, "
                "'proto_version', '1', 'publication_names', 'pub')"
            )
        ]
        self._next = 0
        self.rows: dict[str, str] = {}

    def up_to(self, lsn: int) -> dict[str, str]:
        """Every transaction that commits before."""
        while self._next < len(self._messages):
            message = self._messages[self._next]
            if message[:1] == b"B" and COMMIT_LSN.unpack_from(message, 1)[0] >= lsn:
                break
            if message[:1] in {b"I", b"U"}:
                cells = read_cells(
                    Cursor(message[message.rindex(b"N", 0, 7 if message[5:6] == b"N" else None) + 1 :]), 2
                )
                key, value = (bytes(cell).decode() for cell in cells)  # type: ignore[arg-type]
                self.rows[key] = value
            self._next += 1
        return dict(self.rows)


def write(database: Database, stop: threading.Event, seed: int, ids: range) -> None:
    """Short transactions on rows of its own."""
    chance = random.Random(seed)
    with database.connect() as connection:
        while not stop.is_set():
            for _ in range(chance.randint(1, 3)):
                connection.execute("UPDATE t SET n = n + 1 WHERE id = %s", [chance.choice(ids)])
            connection.commit()


@pytest.mark.timeout(240)
async def test_the_cut_is_the_stream_at_its_position(database: Database) -> None:
    database.sql(TABLE, "ALTER TABLE t REPLICA IDENTITY FULL", "CREATE INDEX ON t (id)")
    database.publish()
    database.sql("INSERT INTO t SELECT n, 0 FROM generate_series(1, 40) AS n")
    stop = threading.Event()
    writers = [
        threading.Thread(target=write, args=(database, stop, seed, range(10 * seed + 1, 10 * seed + 11)))
        for seed in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    found: list[tuple[int, dict[str, str]]] = []
    try:
        async with database.reader() as reader:
            table = await reader.describe("pub", "public", "t")
        assert table.key == ()
        for _ in range(CUTS):
            async with exact_cut(database.dsn, table) as cut:
                await cut.wait_until_safe()
                rows = [row async for piece in cut.rows(max_bytes=200) for row in texts(piece)]
            assert len(rows) == 40
            found.append((cut.consistent_lsn, dict(rows)))  # type: ignore[arg-type]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    replay = Replay(database)
    assert [lsn for lsn, _ in found] == sorted(lsn for lsn, _ in found)
    for lsn, rows_of_cut in found:
        assert rows_of_cut == replay.up_to(lsn)
    assert found[0][1] != found[-1][1]


async def test_bounded_pieces_and_a_condition(database: Database) -> None:
    database.sql(TABLE.replace("n int", "n text"))
    database.publish()
    database.sql("INSERT INTO t SELECT n, repeat('x', 5000) FROM generate_series(1, 2000) AS n")
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
    async with exact_cut(database.dsn, table, where=check_where("id % 2 = 0", table)) as cut:
        await cut.wait_until_safe()
        sizes, ids = [], []
        async for piece in cut.rows():
            sizes.append(piece.size)
            ids += [int(row[0]) for row in texts(piece)]
    assert sorted(ids) == list(range(2, 2001, 2))
    assert len(sizes) > 3
    assert max(sizes) < (1 << 20) + 300_000


async def test_the_server_waits_for_a_transaction(database: Database) -> None:
    database.sql(TABLE)
    database.publish()
    database.sql("INSERT INTO t VALUES (1, 1)")
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
    told: list[Sequence[Blocker]] = []
    slots = "SELECT count(*) FROM pg_replication_slots WHERE temporary"
    walsenders = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'"

    async def cut(**options: Any) -> list[Any]:
        async with exact_cut(database.dsn, table, tell=told.append, **options) as made:
            await made.wait_until_safe()
            return [row async for piece in made.rows() for row in texts(piece)]

    with database.connect() as writer:
        pid = writer.info.backend_pid
        writer.execute("INSERT INTO t VALUES (2, 2)")
        with pytest.raises(SnapshotRefused, match=rf"within 1 s: it waits for transaction \d+ of PID {pid}"):
            await cut(timeout_s=1)
        # Nothing is left, although the transaction goes on.
        await eventually(lambda: database.value(slots) == 0 and database.value(walsenders) == 0, "the slot is gone")
        waiting = asyncio.create_task(cut())
        told.clear()
        await eventually(lambda: bool(told), "the transaction is named")
        assert told[0][0].pid == pid
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: database.value(slots) == 0 and database.value(walsenders) == 0, "the slot is gone")
        waiting = asyncio.create_task(cut())
        told.clear()
        await eventually(lambda: bool(told), "the transaction is named")
        writer.commit()
        assert sorted(await waiting) == [("1", "1"), ("2", "2")]
        assert told[-1] == ()


@pytest.mark.parametrize("change", ["TRUNCATE t", "ALTER TABLE t ALTER n TYPE bigint", "DROP TABLE t"])
@pytest.mark.parametrize("is_late", [False, True])
async def test_a_table_that_changes(
    database: Database, monkeypatch: pytest.MonkeyPatch, change: str, is_late: bool
) -> None:
    """Before the cut, and between its snapshot and the lock, where the snapshot would find an empty table."""
    database.sql(TABLE)
    database.publish()
    database.sql("INSERT INTO t VALUES (1, 1)")
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
    create = module._TemporarySlot.create

    async def create_and_change(self: Any, *arguments: Any, **options: Any) -> None:
        await create(self, *arguments, **options)
        database.sql(change)

    if is_late:
        monkeypatch.setattr(module._TemporarySlot, "create", create_and_change)
    else:
        database.sql(change)
    with pytest.raises(TableChanged):
        async with exact_cut(database.dsn, table):
            pass
    assert database.value("SELECT count(*) FROM pg_locks WHERE relation = to_regclass('t')::oid") == 0


async def test_no_slot_is_free(database: Database) -> None:
    database.sql(TABLE)
    database.publish()
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", "t")
    free = database.value("SHOW max_replication_slots")
    used = database.value("SELECT count(*) FROM pg_replication_slots")
    for number in range(int(free) - used):
        database.sql(f"SELECT pg_create_logical_replication_slot('{database.name}_{number}', 'pgoutput')")
    with pytest.raises(SnapshotRefused, match=r"temporary slot to read table public\.t") as caught:
        async with exact_cut(database.dsn, table):
            pass
    assert "max_replication_slots" in str(caught.value.hint)
