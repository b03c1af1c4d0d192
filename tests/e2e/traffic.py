"""Transactions of every kind while a test breaks something."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any, Self

import psycopg

if TYPE_CHECKING:
    from e2e.world import World

TABLE = "CREATE TABLE IF NOT EXISTS traffic (id bigint PRIMARY KEY, n int NOT NULL, note text)"


class Traffic:
    """Commits inserts, updates, deletes and changes of keys, and rolls some back, until the block is left.

    To be entered when a Ditto streams: what is written before there is a slot is not in the stream.
    One thread of its own; the same seed makes the same transactions, as many as there is time for.
    """

    def __init__(self, world: World, *, seed: int = 1, pause_s: float = 0.003) -> None:
        self._dsn = world.dsn
        self._random = random.Random(seed)
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.committed_count = 0
        world.sql(TABLE)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the traffic does not end"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with psycopg.connect(self._dsn) as connection:
                last_id = 0
                while not self._stop.wait(self._pause_s):
                    last_id = self._transact(connection, last_id)
        except BaseException as error:  # noqa: BLE001  it is raised where the block is left
            self._failure = error

    def _transact(self, connection: psycopg.Connection[Any], last_id: int) -> int:
        rows = self._random.randint(1, 20)
        some = self._random.randint(1, max(1, last_id))
        kind = self._random.choices(("insert", "change", "delete", "move", "undo"), (5, 3, 1, 1, 1))[0]
        if kind in {"insert", "undo"}:
            connection.execute(
                "INSERT INTO traffic SELECT i, i, repeat('x', %s) FROM generate_series(%s::bigint, %s::bigint) AS i",
                [self._random.choice((3, 100, 3000)), last_id + 1, last_id + rows],
            )
        if kind in {"change", "undo"}:
            connection.execute("UPDATE traffic SET n = n + 1 WHERE id BETWEEN %s AND %s", [some, some + rows])
        if kind == "delete":
            connection.execute("DELETE FROM traffic WHERE id BETWEEN %s AND %s", [some, some + 5])
        if kind == "move":
            connection.execute("UPDATE traffic SET id = -id WHERE id = %s", [some])
        if kind == "undo":
            connection.rollback()
            return last_id
        connection.commit()
        self.committed_count += 1
        return last_id + rows if kind == "insert" else last_id
