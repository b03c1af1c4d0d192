"""Writers that change four tables in every way that a snapshot has to bear, at once and from a seed."""

from __future__ import annotations

import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import psycopg
from psycopg import errors

from e2e.snapshots.oracle import Base

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from e2e.world import World


class Shape(NamedTuple):
    """A table whose rows have numbers: each is a key."""

    name: str
    columns: tuple[str, ...]
    """Of the key; empty where there is none."""
    key: str
    """The key's values, as SQL of the row's number `i`, separated by commas."""
    definition: str
    identity: str = "DEFAULT"
    partitions: int = 0
    """By the hash of the key; published as one table."""

    @property
    def key_list(self) -> str:
        return ", ".join(self.columns)

    def create(self) -> tuple[str, ...]:
        """A TOASTed column is stored as it is: what does not change is not sent, and what is sent is long."""
        by = f" PARTITION BY HASH ({self.key_list})" if self.partitions else ""
        return (
            f"CREATE TABLE {self.name} ({self.definition}, n int NOT NULL, v int DEFAULT 5, doc text){by}",
            f"ALTER TABLE {self.name} ALTER doc SET STORAGE EXTERNAL",
            *(
                f"CREATE TABLE {self.name}_{number} PARTITION OF {self.name} "
                f"FOR VALUES WITH (MODULUS {self.partitions}, REMAINDER {number})"
                for number in range(self.partitions)
            ),
            f"ALTER TABLE {self.name} REPLICA IDENTITY {self.identity}",
        )

    def is_row(self, number: str = "i") -> str:
        """A condition on the table `t`: the row of that number."""
        return f"({', '.join(f't.{name}' for name in self.columns)}) = ({self.key.replace('%i', number)})"

    def numbered(self, number: str = "i") -> str:
        return self.key.replace("%i", number)


ACCOUNTS: Final = Shape("accounts", ("id",), "%i", "id int PRIMARY KEY")
ENTRIES: Final = Shape(
    "entries",
    ("book", "line"),
    "(ARRAY['Asset', 'bond', 'Über', 'x y', ''])[%i %% 5 + 1], %i",
    "book text, line int, PRIMARY KEY (book, line)",
    "FULL",
)
DEVICES: Final = Shape("devices", ("id",), "md5((%i)::text)::uuid", "id uuid PRIMARY KEY")
JOURNAL: Final = Shape("journal", (), "", "note text", "FULL")
KEYED: Final = (ACCOUNTS, ENTRIES, DEVICES)
SHAPES: Final = (*KEYED, JOURNAL)
PARTITIONED: Final = Shape("parts", ("id",), "%i", "id int PRIMARY KEY", partitions=3)
DDL: Final = (
    "CREATE TABLE ddl (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, kind text, col text, argument text)"
)

# The document of row i: as long as it is stored outside of the row, short, or none.
_DOC: Final = (
    "CASE (i + {salt}) %% 10 WHEN 0 THEN NULL WHEN 1 THEN 'short' ELSE repeat(md5((i + {salt})::text), 80) END"
)
_EXPECTED: Final = (
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.UniqueViolation,
)


class Pace(NamedTuple):
    """How much is written."""

    writers: int = 8
    rows: int = 3_000
    """In each table at the beginning."""
    slow_s: float = 3.0
    """The longest that a transaction stays open on purpose."""
    pause_s: float = 0.02
    """Between two transactions of one writer."""
    ddl_period_s: float = 0.7
    """Between two ALTER TABLE or TRUNCATE, on average."""
    most_rows: int = 5_000
    """Of one statement."""

    @property
    def space(self) -> int:
        """Numbers of rows: more than there are rows, so that new ones come in between."""
        return 3 * self.rows


QUICK: Final = Pace()
LONG: Final = Pace(rows=20_000, slow_s=10)


class Writers:
    """Write until the block is left; a server that goes away is waited for."""

    def __init__(
        self, world: World, *, seed: int, pace: Pace = QUICK, alters: bool = True, shapes: Sequence[Shape] = SHAPES
    ) -> None:
        self._dsn = world.dsn
        self._shapes = shapes
        self._seed = seed
        self._pace = pace
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.committed_count = 0
        self.refused_count = 0
        """Transactions that ended in a deadlock, a lock that could not be had or a key that was taken."""
        self.altered_count = 0
        bodies: list[Callable[[psycopg.Connection[Any], random.Random], None]] = [self._write] * pace.writers
        if alters:
            bodies[0] = self._alter
        self._threads = [
            threading.Thread(target=self._run, args=(body, number), daemon=True, name=f"writer {number}")
            for number, body in enumerate(bodies)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} does not end"
        if self._failures:
            raise self._failures[0]

    def _run(self, body: Callable[[psycopg.Connection[Any], random.Random], None], number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._dsn, connect_timeout=5, prepare_threshold=None) as connection:
                    connection.execute("SET lock_timeout = '2s'")
                    connection.commit()
                    while not self._stop.is_set():
                        try:
                            body(connection, chance)
                            self.committed_count += 1
                        except _EXPECTED:
                            connection.rollback()
                            self.refused_count += 1
            except psycopg.OperationalError:
                self._stop.wait(0.2)  # the server is being restarted, or has ended this connection
            except BaseException as error:  # noqa: BLE001  it is raised where the block is left
                self._failures.append(error)
                return

    # ------------------------------------------------------------------------------------ rows

    def _write(self, connection: psycopg.Connection[Any], chance: random.Random) -> None:
        self._stop.wait(chance.expovariate(1 / self._pace.pause_s))
        shape = chance.choice(self._shapes)
        for _ in range(chance.choice((1, 1, 2, 4))):
            self._change(connection, chance, shape)
            if chance.random() < 0.2:
                with connection.transaction(force_rollback=chance.random() < 0.7):  # a savepoint
                    self._change(connection, chance, shape)
            if chance.random() < 0.02:
                self._stop.wait(chance.uniform(0, self._pace.slow_s))
            if chance.random() < 0.3:
                shape = chance.choice(self._shapes)
        if chance.random() < 0.1:
            connection.rollback()
        else:
            connection.commit()

    def _change(self, connection: psycopg.Connection[Any], chance: random.Random, shape: Shape) -> None:
        kind = chance.choices((20, 200, self._pace.most_rows), (60, 8, 1))[0]
        first = chance.randrange(self._pace.space)
        numbers = f"generate_series({first}, {first + chance.randint(1, kind) - 1}) AS i"
        salt = chance.randrange(10_000)
        statements = self._in_journal if not shape.columns else self._in_keyed
        for statement in statements(chance, shape, numbers, salt):
            connection.execute(statement.replace("%%", "%").encode())

    def _in_keyed(self, chance: random.Random, shape: Shape, numbers: str, salt: int) -> list[str]:
        insert = (
            f"INSERT INTO {shape.name} ({shape.key_list}, n, doc) SELECT {shape.numbered()}, {salt}, "
            f"{_DOC.format(salt=salt)} FROM {numbers} ON CONFLICT DO NOTHING"
        )
        delete = f"DELETE FROM {shape.name} AS t USING {numbers} WHERE {shape.is_row()}"
        update = f"UPDATE {shape.name} AS t SET {{}} FROM {numbers} WHERE {shape.is_row()}"
        document = f"doc = {_DOC.format(salt=salt)}"
        kinds = {"insert": 6, "touch": 5, "rewrite": 2, "both": 1, "move": 3, "delete": 2, "again": 2}
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        match kind:
            case "insert":
                return [insert]
            case "touch":
                return [update.format(f"n = n + 1, v = '{salt}'" if chance.random() < 0.5 else "n = n + 1")]
            case "rewrite":
                return [update.format(document)]
            case "both":
                return [update.format(f"n = n + 1, {document}")]
            case "delete":
                return [delete]
            case "again":
                return [delete, insert]
        # Here and there: from what was read already to what was not, and the other way.
        pairs = ", ".join(
            f"({chance.randrange(self._pace.space)}, {chance.randrange(self._pace.space)})"
            for _ in range(chance.randint(1, 20))
        )
        free = f"NOT EXISTS (SELECT FROM {shape.name} AS t WHERE {shape.is_row('m.j')})"
        more = chance.choice(("", ", n = n + 1", ", doc = 'moved'"))
        return [
            f"UPDATE {shape.name} AS t SET ({shape.key_list}) = ROW({shape.numbered('m.j')}){more} "
            f"FROM (SELECT i, min(j) AS j FROM (SELECT max(i) AS i, j FROM (VALUES {pairs}) AS p(i, j) GROUP BY j) AS p"
            f" GROUP BY i) AS m WHERE {shape.is_row('m.i')} AND {free}"
        ]

    @staticmethod
    def _in_journal(chance: random.Random, shape: Shape, numbers: str, salt: int) -> list[str]:
        insert = (
            f"INSERT INTO {shape.name} (note, n, doc) SELECT 'note ' || i %% 100, {salt} %% 50, "
            f"{_DOC.format(salt=salt)} FROM {numbers}"
        )
        some = f"WHERE n = {salt % 50} AND v = 5 AND note = 'note {salt % 100}'"
        kind = chance.choices(("insert", "update", "delete"), (3, 3, 2))[0]
        match kind:
            case "insert":
                return [insert]
            case "update":
                return [f"UPDATE {shape.name} SET n = {chance.randrange(50)} {some}"]
        return [f"DELETE FROM {shape.name} {some}"]

    # ------------------------------------------------------------------------------------ tables

    def _alter(self, connection: psycopg.Connection[Any], chance: random.Random) -> None:
        self._stop.wait(chance.expovariate(1 / self._pace.ddl_period_s))
        shape = chance.choice([each for each in self._shapes if each.columns])
        connection.execute("SET LOCAL lock_timeout = '500ms'")  # or one that waits for long would hold up all others
        connection.execute(f"LOCK TABLE {shape.name} IN ACCESS EXCLUSIVE MODE".encode())
        kind = chance.choices(("truncate", "add", "drop", "retype"), (1, 2, 2, 2))[0]
        if kind == "truncate":
            connection.execute(f"TRUNCATE {shape.name}".encode())
            if chance.random() < 0.8:
                connection.execute(_fill(shape, self._pace.rows // 2, chance.randrange(10_000)))
        else:
            self._change_columns(connection, chance, shape, kind)
        if chance.random() < 0.1:
            connection.rollback()
        else:
            connection.commit()
            self.altered_count += 1

    @staticmethod
    def _change_columns(connection: psycopg.Connection[Any], chance: random.Random, shape: Shape, kind: str) -> None:
        columns = dict(_columns(connection, shape.name))
        added = [name for name in columns if name.startswith("x")]
        if kind == "add" and len(added) < 6:
            name = f"x{time.time_ns()}"  # each name once: a new column is not the one that was dropped
            given = chance.choice(("integer", "text", "integer DEFAULT 7", "text DEFAULT seven"))
            statement = f"ADD COLUMN {name} {given.replace('seven', repr('seven'))}"
        elif kind == "drop" and added:
            name, given = chance.choice(added), ""
            statement = f"DROP COLUMN {name}"
        elif kind == "retype":
            name, given = "v", "text" if columns["v"] == "integer" else "integer"
            connection.execute(f"ALTER TABLE {shape.name} ALTER v DROP DEFAULT".encode())
            statement = f"ALTER v TYPE {given} USING v::{given}"
        else:
            return
        connection.execute(f"ALTER TABLE {shape.name} {statement}".encode())
        connection.execute(
            "INSERT INTO ddl (name, kind, col, argument) VALUES (%s, %s, %s, %s)", [shape.name, kind, name, given]
        )
        if chance.random() < 0.3:
            connection.execute(f"UPDATE {shape.name} SET {name} = '11' WHERE n % 3 = 0".encode() if given else "SELECT")


def _fill(shape: Shape, rows: int, salt: int) -> bytes:
    """Every third number, so that there is room in between."""
    keys = f"{shape.key_list}, n, doc" if shape.columns else "note, n, doc"
    values = shape.numbered("(3 * i)") if shape.columns else "'note ' || i %% 100"
    statement = (
        f"INSERT INTO {shape.name} ({keys}) SELECT {values}, i %% 50, {_DOC.format(salt=salt)} "
        f"FROM generate_series(0, {rows - 1}) AS i"
    )
    return statement.replace("%%", "%").encode()


def make_tables(world: World, *, rows: int = QUICK.rows, shapes: Sequence[Shape] = SHAPES) -> None:
    """The tables, filled. To be called before Ditto starts: these rows are in no change event."""
    world.sql(DDL, *(statement for shape in shapes for statement in shape.create()))
    world.sql(*(_fill(shape, rows, salt).decode() for salt, shape in enumerate(shapes)))


def _columns(connection: psycopg.Connection[Any], name: str) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [name],
    ).fetchall()


def copy_tables(world: World, shapes: Sequence[Shape] = SHAPES) -> dict[str, Base]:
    """The tables now, while nobody writes."""
    found = {}
    with world.connect() as connection:
        for shape in shapes:
            columns = dict(_columns(connection, shape.name))
            texts = ", ".join(f"{name}::text" for name in columns)
            rows = connection.execute(f"SELECT {texts} FROM {shape.name}".encode()).fetchall()
            found[shape.name] = Base(columns, shape.columns, [dict(zip(columns, row, strict=True)) for row in rows])
    return found


def request(world: World, run: str, *tables: str, **more: object) -> None:
    """Ask for a snapshot, as any SQL client may."""
    body = json.dumps({"start": list(tables), "run": run, **more})
    with world.connect() as connection:
        connection.execute("SELECT pg_logical_emit_message(true, 'ditto.snapshot', %s)", [body])
