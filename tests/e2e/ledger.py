"""A workload that keeps its own books, and the check of a stream against them.

Every transaction writes, last of all, its id and its number of row changes into the table `ledger`. So the stream can
be checked transaction by transaction: all of its changes, each once, none of another, and none that was rolled back.
"""

from __future__ import annotations

import random
import threading
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

import psycopg

from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from e2e.world import Stored, World

TABLES = (
    "CREATE TABLE IF NOT EXISTS ledger (id bigint PRIMARY KEY, row_count int NOT NULL)",
    "CREATE TABLE IF NOT EXISTS account (id bigint PRIMARY KEY, n int NOT NULL, note text)",
    "CREATE TABLE IF NOT EXISTS entry (id bigint, line int, doc jsonb, note text, PRIMARY KEY (id, line))",
)
UNDONE = "rolled back"
LARGE_ROWS = 3000


class Ledger:
    """Writes with several threads until the block is left; a server that goes away is waited for.

    To be entered when a Ditto streams: what is written before there is a slot is not in the stream.
    """

    def __init__(self, world: World, *, seed: int = 1, writer_count: int = 2, pause_s: float = 0.01) -> None:
        self._dsn = world.dsn
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, random.Random(seed * 1000 + number)), daemon=True)
            for number in range(1, writer_count + 1)
        ]
        self.committed_count = 0
        world.sql(*TABLES)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a writer does not end"
        if self._failures:
            raise self._failures[0]

    async def goes_on(self, transactions: int) -> None:
        """Wait until so many more are committed."""
        wanted = self.committed_count + transactions
        await eventually(lambda: self.committed_count >= wanted, "transactions are committed")

    def _run(self, number: int, chance: random.Random) -> None:
        next_id = number << 40 | chance.getrandbits(24) << 16
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._dsn, connect_timeout=5) as connection:
                    while not self._stop.wait(self._pause_s):
                        next_id += 1
                        self._transact(connection, chance, next_id << 12)
            except psycopg.OperationalError:
                self._stop.wait(0.2)  # the server is being restarted, or has ended this connection
            except BaseException as error:  # noqa: BLE001  it is raised where the block is left
                self._failures.append(error)
                return

    def _transact(self, connection: psycopg.Connection[Any], chance: random.Random, base: int) -> None:
        is_undone = chance.random() < 0.1
        row_count = 0
        for step in range(chance.randint(1, 4)):
            rows = LARGE_ROWS if chance.random() < 0.005 else chance.randint(1, 12)
            first = base + step
            row_count += self._change(connection, chance, first, rows, UNDONE if is_undone else "kept")
            if chance.random() < 0.2:
                with connection.transaction(force_rollback=True):  # a savepoint
                    self._change(connection, chance, first + 100, 3, UNDONE)
        connection.execute("INSERT INTO ledger VALUES (pg_current_xact_id()::text::bigint, %s)", [row_count])
        if is_undone:
            connection.rollback()
        else:
            connection.commit()
            self.committed_count += 1

    @staticmethod
    def _change(connection: psycopg.Connection[Any], chance: random.Random, first: int, rows: int, note: str) -> int:
        kind = chance.choices(("entries", "account", "update", "move", "delete"), (4, 3, 2, 1, 1))[0]
        if kind == "entries":
            query = (
                "INSERT INTO entry SELECT %(first)s, i, jsonb_build_object('i', i), %(note)s || repeat('x', %(size)s) "
                "FROM generate_series(1, %(rows)s) i"
            )
        elif kind == "account":
            query = "INSERT INTO account VALUES (%(first)s, 0, %(note)s)"
        else:
            # Of this writer's own rows: no two writers wait for each other.
            some = "SELECT id FROM account WHERE id >> 52 = %(first)s::bigint >> 52 ORDER BY id DESC LIMIT %(few)s"
            query = {
                "update": f"UPDATE account SET n = n + 1, note = %(note)s WHERE id IN ({some})",
                "move": f"UPDATE account SET id = id + 50, note = %(note)s WHERE id IN ({some} OFFSET 2) "
                "AND NOT EXISTS (SELECT FROM account AS taken WHERE taken.id = account.id + 50)",
                "delete": f"DELETE FROM account WHERE id IN ({some} OFFSET 5)",
            }[kind]
            if kind == "move":
                query = query.replace("LIMIT %(few)s", "LIMIT 1")
        size = chance.choice((0, 50, 2500))
        parameters = {"first": first, "rows": rows, "note": note, "size": size, "few": min(rows, 5)}
        return connection.execute(query.encode(), parameters).rowcount


def check(messages: Iterable[Stored], ledger_rows: Sequence[tuple[int, int]]) -> list[str]:
    """What is wrong with the stream, given the rows of the table `ledger`.

    Fences, checkpoints and all that belongs to snapshots are passed over.
    """
    found: list[str] = []
    seen: dict[int, int] = {}
    events = (message for message in messages if message.position.ordinal and _is_change(message))
    for commit_lsn, group in groupby(events, key=lambda message: message.position.commit_lsn):
        transaction = list(group)
        where = f"transaction at {transaction[0].position}"
        if [message.position.ordinal for message in transaction] != list(range(1, len(transaction) + 1)):
            found.append(f"{where}: the changes are not 1 to {len(transaction)}")
        entries = []
        for message in transaction:
            event = message.event
            if event["table"] == "ledger":
                entries.append(event["data"])
            if (event["data"].get("note") or "").startswith(UNDONE):
                found.append(f"{where}: a change that was rolled back")
        if all(message.event["table"] == "fence" for message in transaction):
            continue
        if len(entries) != 1:
            found.append(f"{where}: {len(entries)} entries of the ledger")
            continue
        xid, row_count = entries[0]["id"], entries[0]["row_count"]
        if row_count != len(transaction) - 1:
            found.append(f"{where}: {len(transaction) - 1} changes, and {row_count} in the ledger")
        if xid in seen:
            found.append(f"{where}: transaction {xid} is there twice")
        seen[xid] = commit_lsn
    committed = {xid for xid, _ in ledger_rows}
    found += [f"transaction {xid} is missing" for xid in sorted(committed - seen.keys())]
    found += [f"transaction {xid} was never committed" for xid in sorted(seen.keys() - committed)]
    return found


def _is_change(message: Stored) -> bool:
    return message.event.get("action") in {"INSERT", "UPDATE", "DELETE", "TRUNCATE"}


async def matches_ledger(world: World) -> None:
    """All that is committed has arrived, transaction by transaction, and the replayed stream gives the tables."""
    await world.fence(timeout_s=180)
    rows = world.sql("SELECT id, row_count FROM ledger")
    found = check(await world.messages(), rows)
    assert not found, found[:5]
    await world.matches_tables()
