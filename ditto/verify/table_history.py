"""Changes of a table without an event, which explain differences, from the catalogue.

Logical replication sends what INSERT, UPDATE, DELETE and TRUNCATE do. It does not send what ALTER, CREATE, DROP and
ATTACH do to rows that are there. The catalogue tells when they did it: each of its rows, as each row of a table, names
the transaction that wrote it (`xmin`). A difference is explained only where a change of the catalogue came after the
publication was made and after the row was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ditto.source.sql import Control
from ditto.verify.catalogue import Table

_FIRST_NORMAL_XID: Final = 3
_OLDEST: Final = 1 << 40

_NEXT_XID: Final = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) AS xid"

# The table itself, and its partitions.
_FILES: Final = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relfilenode <> c.oid AND c.relkind = 'r' AS is_rewritten,
        s.xmin AS created, t.xmin AS named,
        (SELECT pg_catalog.array_agg(i.xmin) FROM pg_catalog.pg_partition_ancestors(c.oid) AS a
         JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.relid) AS attached
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_type AS t ON t.oid = c.reltype
    JOIN pg_catalog.pg_attribute AS s ON s.attrelid = c.oid AND s.attname = 'tableoid'
    WHERE c.oid = %s OR c.oid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(%s) AS p)"""

_COLUMNS: Final = """
    SELECT a.attrelid AS oid, a.attname AS name, a.xmin AS xid
    FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped"""

_KEY: Final = """
    SELECT i.xmin AS xid FROM pg_catalog.pg_index AS i
    WHERE i.indrelid = %s AND (i.indisprimary OR i.indisreplident)"""

# Of every column the types that its values are made of: below domains, of elements, bounds and attributes.
_TYPES: Final = """
    WITH RECURSIVE types(number, type) AS (
        SELECT a.attnum, a.atttypid FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
        UNION
        SELECT s.number, n.type
        FROM types AS s JOIN pg_catalog.pg_type AS t ON t.oid = s.type
        CROSS JOIN LATERAL (
            SELECT t.typbasetype WHERE t.typtype = 'd'
            UNION ALL SELECT t.typelem WHERE t.typelem <> 0
            UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range AS r WHERE r.rngtypid = t.oid
            UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range AS r WHERE r.rngmultitypid = t.oid
            UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
                WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS n(type))
    SELECT a.attname AS column, found.kind, found.name, found.xid
    FROM types AS s
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = %s AND a.attnum = s.number
    JOIN pg_catalog.pg_type AS t ON t.oid = s.type
    CROSS JOIN LATERAL (
        SELECT 'label' AS kind, e.enumlabel AS name, e.xmin AS xid FROM pg_catalog.pg_enum AS e
            WHERE e.enumtypid = t.oid
        UNION ALL SELECT 'attribute', x.attname, x.xmin FROM pg_catalog.pg_attribute AS x
            WHERE t.typtype = 'c' AND x.attrelid = t.typrelid AND x.attnum > 0
        UNION ALL SELECT 'name', t.typname, t.xmin
            WHERE t.typnamespace = 11 AND (t.typname = 'aclitem' OR t.typname ^@ 'reg' AND t.typtype = 'b')
    ) AS found"""


class Version(NamedTuple):
    """Which version of a row this is: where it is, and the transaction that wrote it."""

    oid: int
    """Of the table or partition."""
    xid: int


@dataclass(kw_only=True, frozen=True)
class _File:
    """A table or partition that holds rows."""

    name: str
    is_rewritten: bool
    """TRUNCATE, VACUUM FULL or ALTER TABLE has given it another file."""
    created: int
    named: int
    """When it was renamed, moved to another schema or given another owner; when it was created, where it was not."""
    attached: tuple[int, ...]
    """When it became a partition, and its parents did."""
    columns: dict[str, int]
    """When each column was changed last."""


class Xids:
    """Orders transaction ids, which wrap around."""

    def __init__(self, next_xid: int) -> None:
        self._next = next_xid

    def age(self, xid: int) -> int:
        """How many transaction ids were given away since."""
        return _OLDEST if xid < _FIRST_NORMAL_XID else (self._next - xid) & 0xFFFFFFFF

    def is_before(self, one: int, other: int) -> bool:
        """Whether the first transaction began to write before the other one did."""
        return self.age(one) > self.age(other)


async def read_xids(control: Control) -> Xids:
    rows = await control.fetch(_NEXT_XID, doing="read the next transaction id")
    return Xids(int(rows[0]["xid"]) & 0xFFFFFFFF)


class History:
    """The history of one table, from the catalogue."""

    def __init__(
        self,
        table: Table,
        *,
        xids: Xids,
        since: int,
        files: dict[int, _File],
        types: list[dict[str, Any]],
        keys: list[int],
        oldest: Mapping[int, int],
    ) -> None:
        self._table = table
        self._xids = xids
        self._since = since
        self._files = files
        self._labels = [(each["column"], each["name"], int(each["xid"])) for each in types if each["kind"] == "label"]
        self._attributes = [(each["column"], int(each["xid"])) for each in types if each["kind"] == "attribute"]
        self._shows_names = {each["column"] for each in types if each["kind"] == "name"}
        self._keys = keys
        self._oldest = oldest

    @property
    def created(self) -> int:
        return self._files[self._table.oid].created

    @property
    def is_rewritten(self) -> bool:
        """Whether rows may have been rewritten without events."""
        return any(file.is_rewritten for file in self._files.values())

    @property
    def is_younger_than_publication(self) -> bool:
        """Whether the table was made after the publication was: there may have been another one of its name."""
        return self._xids.is_before(self._since, self.created)

    def of_value(
        self, column: str, version: Version, text: str | None, *, is_missing: bool, is_other: bool
    ) -> str | None:
        """Why the event of a row has another value, or none (`is_missing`), in a column; None where nothing tells.

        `text` is the value as it is now. `is_other`: the event is from when the table had other columns, and one of
        them may have had this one's name.
        """
        file = self._files.get(version.oid)
        if file is None:
            return None
        is_rewritten = self._is_rewritten(file, version)
        changed = file.columns.get(column, file.created)
        if changed != file.created and self._is_new(changed):
            is_old = is_rewritten or not self._xids.is_before(changed, version.xid)
            if is_old and (is_missing or is_other):
                return _added(column)
            if is_rewritten:
                return f"column {column} was altered when rows were there: no event has their new values"
        if any(each == column and self._is_since(xid, version) for each, xid in self._attributes):
            return f"the type of column {column} was altered when rows were there, which changes their text"
        if any(
            each == column and label in (text or "") and self._is_since(xid, version)
            for each, label, xid in self._labels
        ):
            return f"a value of column {column}'s enum was renamed when rows were there, which changes their text"
        if column in self._shows_names:
            return f"column {column} shows names of the catalogue, which change without events"
        return None

    def of_column(self, column: str) -> str | None:
        """Why earlier rows have no value in a column."""
        file = self._files[self._table.oid]
        changed = file.columns.get(column, file.created)
        return _added(column) if changed != file.created and self._is_new(changed) else None

    def of_missing_row(self, version: Version, *, has_orphans: bool) -> str | None:
        """Why there is no event of a row. `has_orphans`: the stream has rows of tables that do not exist any more."""
        file = self._files.get(version.oid)
        if file is None:
            return None
        if any(xid != file.created and self._is_since(xid, version) for xid in file.attached):
            return f"{file.name} was attached as a partition when it had rows"
        if has_orphans and any(
            each.named != each.created and self._is_since(each.named, version)
            for each in (file, self._files[self._table.oid])
        ):
            return "it was renamed, or moved to another schema: earlier events have its former name"
        return None

    def of_fault(self, *, has_orphans: bool, has_shapes: bool) -> str | None:
        """Why events may not fit the earlier ones. `has_shapes`: they have several sets of columns."""
        if has_shapes:
            return "its columns have changed, and it has no key: an earlier row cannot be told from a later one"
        for file in self._files.values():
            if has_orphans and file.named != file.created and self._is_new(file.named):
                return "it was renamed, or moved to another schema: earlier events have its former name"
            if any(xid != file.created and self._is_new(xid) for xid in file.attached):
                return f"{file.name} was attached as a partition"
            for column, xid in file.columns.items():
                if xid != file.created and self._is_new(xid) and file.is_rewritten:
                    return f"column {column} was altered when rows were there: no event has their new values"
        return self.of_key()

    def of_key(self) -> str | None:
        """Whether earlier events may have been of another key."""
        if any(self._xids.is_before(self.created, xid) and self._is_new(xid) for xid in self._keys):
            return "its key was made later: earlier rows may have shared it"
        return None

    def _is_new(self, xid: int) -> bool:
        return self._xids.is_before(self._since, xid)

    def _is_since(self, xid: int, version: Version) -> bool:
        """Whether a change came after a row was written, for what the row's own events tell."""
        is_rewritten = self._is_rewritten(self._files[version.oid], version)
        return self._is_new(xid) and (is_rewritten or self._xids.is_before(version.xid, xid))

    def _is_rewritten(self, file: _File, version: Version) -> bool:
        """Whether a row may have been written by ALTER TABLE: that leaves none that is older in the file, and changes a
        column in the same transaction.
        """
        return (
            file.is_rewritten
            and version.xid == self._oldest.get(version.oid)
            and any(
                xid != file.created and self._is_new(xid) and not self._xids.is_before(xid, version.xid)
                for xid in file.columns.values()
            )
        )


def _added(column: str) -> str:
    return f"column {column} was added or renamed when rows were there: no event has its values"


async def read_history(control: Control, table: Table, *, xids: Xids, since: int, oldest: Mapping[int, int]) -> History:
    """`since` is when the publication was made: what happened before has no part in the stream. `oldest` is, for the
    table and each partition, the first transaction that has written a row which is there now.
    """
    doing = f"look up the history of table {table.name}"
    files = await control.fetch(_FILES, [table.oid, table.oid], doing=doing)
    columns: dict[int, dict[str, int]] = {}
    for row in await control.fetch(_COLUMNS, [[file["oid"] for file in files]], doing=doing):
        columns.setdefault(row["oid"], {})[row["name"]] = int(row["xid"])
    return History(
        table,
        xids=xids,
        since=since,
        files={
            file["oid"]: _File(
                name=f"{file['schema']}.{file['name']}",
                is_rewritten=file["is_rewritten"],
                created=int(file["created"]),
                named=int(file["named"]),
                attached=tuple(map(int, file["attached"] or ())) if table.is_partitioned else (),
                columns=columns.get(file["oid"], {}),
            )
            for file in files
        },
        types=await control.fetch(_TYPES, [table.oid, table.oid], doing=doing),
        oldest=oldest,
        keys=[int(row["xid"]) for row in await control.fetch(_KEY, [table.oid], doing=doing)],
    )
