"""A table as a publication publishes it: which rows and columns, under which Relation, in the order of which key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from ditto.decoding.messages import Column, Relation
from ditto.errors import SnapshotRefused, SourceError
from ditto.hints import identifier
from ditto.source.blockers import LOCK_TIMEOUT, Tell, nobody, wait_for_lock
from ditto.source.snapshot_catalogue import (
    COLUMNS,
    FIND,
    IDENTITY,
    KEY,
    LEAVES,
    PUBLICATION,
    SAFE_TYPES,
    fingerprint,
    members,
)
from ditto.source.snapshot_key import KeyColumn, Operator, quoted, text_literal
from ditto.source.sql import QUERY_TIMEOUT_S, Control

_FIRST_TYPE_MESSAGE: Final = 10000
"""pgoutput sends a Type message for types from this OID on."""
_FIRST_WITH_READABLE_BYTES: Final = 160000
"""Before, the text of a `"char"` above 127 is no UTF-8, and cannot be in a cursor."""
_UNFIT: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_SHOWN: Final = 5
_STRATEGIES: Final = 5
"""A B-tree's: <, <=, =, >=, >."""


class SnapshotTable(Struct, frozen=True, kw_only=True):
    """All that reading a table takes. It holds until the fingerprint is another one."""

    relation: Relation
    """Equal to the Relation that pgoutput sends for the table's changes."""
    publication: str
    key: tuple[int, ...]
    """Indexes of `relation.columns`, in the order of the key's index; empty where rows cannot be read in key order."""
    key_columns: tuple[KeyColumn, ...]
    """The same columns, as statements need them."""
    comparable: Mapping[str, Literal["plain", "enum"]]
    """By name, the published columns that a condition may use: no type of anybody's own but enums."""
    select: str
    """The list of columns, of the table that is called `t`."""
    source: str
    """The table with its alias `t`, after FROM."""
    condition: str
    """The publication's row filter, or empty. It names columns without `t`."""
    lock: str
    """The statement that keeps DDL and TRUNCATE away until the end of the transaction."""
    fingerprint_sql: str
    """The expression that gives the fingerprint."""
    fingerprint: str
    estimated_rows: int
    estimated_row_bytes: int
    """Of its text, about."""

    @property
    def estimated_bytes(self) -> int:
        """Of all rows."""
        return self.estimated_rows * self.estimated_row_bytes

    @property
    def name(self) -> str:
        """`schema.table`, for messages."""
        return f"{self.relation.namespace}.{self.relation.name}"

    def begin(self, characteristics: str) -> str:
        """Statements that begin a transaction and lock the table; none of them takes a snapshot."""
        return f"BEGIN ISOLATION LEVEL {characteristics}; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; {self.lock}"

    def filtered(self, *conditions: str) -> str:
        """`WHERE …` with these conditions and the row filter; empty where there is none of them."""
        given = [each for each in (*conditions, self.condition) if each]
        return f"WHERE {' AND '.join(f'({each})' for each in given)}" if given else ""


async def describe_table(
    control: Control,
    publication: str,
    schema: str,
    table: str,
    *,
    tell: Tell = nobody,
    patience_s: float | None = None,
) -> SnapshotTable:
    """Look at a table, in a transaction of its own: nobody else may use `control` meanwhile.

    Waits for a lock on the table as `wait_for_lock` does. Raises SnapshotRefused where a snapshot cannot read it.
    """

    async def look() -> SnapshotTable:
        work = _describe(control.connection, publication, schema, table)
        return await control.within(work, doing=f"look at table {schema}.{table}", timeout_s=QUERY_TIMEOUT_S)

    try:
        return await wait_for_lock(look, lambda: control, (schema, table), tell=tell, patience_s=patience_s)
    except SnapshotRefused:
        raise
    except SourceError as error:
        if error.is_retryable:
            raise
        raise SnapshotRefused(f"cannot read table {schema}.{table}: {error.message}", hint=error.hint) from error


def lock_statement(schema: str, table: str, *, is_root: bool) -> str:
    """Keeps DDL and TRUNCATE away from the table until the transaction ends, and takes no snapshot."""
    return f"LOCK TABLE {'' if is_root else 'ONLY '}{quoted(schema, table)} IN ACCESS SHARE MODE"


async def _describe(connection: AsyncConnection[TupleRow], publication: str, schema: str, table: str) -> SnapshotTable:
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
    try:
        described = await _Look(connection, publication, schema, table).describe()
    except BaseException:
        if not connection.broken:
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")
    return described


class _Look:
    """The questions about one table, inside of one transaction."""

    def __init__(self, connection: AsyncConnection[TupleRow], publication: str, schema: str, table: str) -> None:
        self._connection = connection
        self._publication = publication
        self._schema = schema
        self._table = table

    async def describe(self) -> SnapshotTable:
        found = await self._find()
        oid, is_root = found["oid"], found["kind"] == "p"
        version = self._connection.info.server_version
        lock = lock_statement(self._schema, self._table, is_root=is_root)
        await self._connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
        await self._connection.execute(lock.encode())
        publication = await self._one(PUBLICATION, self._publication)
        if publication is None:
            raise self._refused(f"publication {self._publication} does not exist", None)
        leaves = await self._all(LEAVES, oid)
        me = await self._member(publication, oid, leaves, is_root=is_root, version=version)
        identity = await self._one(IDENTITY, oid)
        if identity is None:
            raise self._refused("there is no such table", None)
        columns = await self._columns(oid, me, publication)
        relation = Relation(
            oid=oid,
            namespace=self._schema,
            name=self._table,
            replica_identity=identity["replica_identity"],
            columns=tuple(_column(row, identity) for row in columns),
        )
        key = await self._key(oid, columns, {leaf["replica_identity"] for leaf in leaves}, identity, version)
        numbers = [row["number"] for row in columns]
        select = ", ".join(f"t.{quoted(column.name)}" for column in relation.columns)
        name = quoted(self._schema, self._table)
        source = f"{name} AS t" if is_root else f"ONLY {name} AS t"
        expression = fingerprint(oid, text_literal(self._publication), version)
        condition = me.get("condition") if not (publication["is_for_all"] or me["is_of_schema"]) else None
        mark = await self._one(f"SELECT {expression} AS fingerprint")
        where = f"WHERE {condition}" if condition else ""
        rows, width = await self._estimate(f"SELECT {select} FROM {source} {where}")  # noqa: S608  quoted
        return SnapshotTable(
            relation=relation,
            publication=self._publication,
            key=tuple(numbers.index(number) for number, _ in key),
            key_columns=tuple(column for _, column in key),
            comparable={row["name"]: kind for row in columns if (kind := _comparable(row)) is not None},
            select=select,
            source=source,
            condition=condition or "",
            lock=lock,
            fingerprint_sql=expression,
            fingerprint=mark["fingerprint"] if mark else "",
            estimated_rows=rows,
            estimated_row_bytes=max(1, width),
        )

    async def _find(self) -> dict[str, Any]:
        found = await self._one(FIND, self._schema, self._table)
        if found is None:
            raise self._refused("there is no such table", "was it dropped or renamed?")
        if found["is_standby"]:
            raise self._refused(
                "this server is a standby, and a snapshot has to write markers",
                "give the address of the primary in postgres.dsn",
            )
        if found["kind"] in _UNFIT or not found["is_logged"]:
            kind = _UNFIT.get(found["kind"], "an unlogged or temporary table")
            raise self._refused(f"it is {kind}", "PostgreSQL sends no changes of such a relation")
        if not found["may_use_schema"]:
            grant = f"GRANT USAGE ON SCHEMA {identifier(self._schema)} TO {identifier(found['role'])}"
            raise self._refused(f"role {found['role']} may not use its schema", grant)
        if not found["may_select"]:
            grant = f"GRANT SELECT ON {identifier(self._schema, self._table)} TO {identifier(found['role'])}"
            raise self._refused(f"role {found['role']} may not read it", grant)
        if found["has_row_security"]:
            raise self._refused(
                f"its row-level security would hide rows from role {found['role']}",
                f"ALTER ROLE {identifier(found['role'])} BYPASSRLS",
            )
        return found

    async def _member(
        self, publication: dict[str, Any], oid: int, leaves: list[dict[str, Any]], *, is_root: bool, version: int
    ) -> dict[str, Any]:
        """How the table is a member of the publication."""
        rows = await self._all(members(version), oid, publication["oid"], publication["oid"])
        of_it = [row for row in rows if publication["is_for_all"] or row["is_member"] or row["is_of_schema"]]
        if not of_it:
            raise self._refused(
                f"publication {self._publication} does not contain it",
                f"ALTER PUBLICATION {identifier(self._publication)} ADD TABLE {identifier(self._schema, self._table)}",
            )
        if is_root and not publication["is_via_root"]:
            names = ", ".join(f"{leaf['namespace']}.{leaf['name']}" for leaf in leaves[:_SHOWN])
            raise self._refused(
                f"publication {self._publication} publishes its rows under the names of its partitions",
                f"name the partitions: {names}{', …' if len(leaves) > _SHOWN else ''}",
            )
        topmost = of_it[-1]
        if publication["is_via_root"] and topmost["level"]:
            name = f"{topmost['namespace']}.{topmost['name']}"
            raise self._refused(
                f"publication {self._publication} publishes its rows under the name {name}", f"name {name}"
            )
        unfit = next((leaf for leaf in leaves if not leaf["is_fit"]), None)
        if unfit is not None:
            raise self._refused(
                f"its partition {unfit['namespace']}.{unfit['name']} is a foreign or unlogged table, of which "
                "PostgreSQL sends no changes",
                "detach that partition, or publish the other ones under their own names",
            )
        return rows[0]

    async def _columns(self, oid: int, me: dict[str, Any], publication: dict[str, Any]) -> list[dict[str, Any]]:
        """Those that are published."""
        rows = await self._all(COLUMNS, oid)
        listed = None if publication["is_for_all"] else me.get("listed")
        if listed is not None:
            return [row for row in rows if row["number"] in listed]
        return [row for row in rows if not row["generated"] or row["generated"] == publication["generated"] == "s"]

    async def _key(
        self,
        oid: int,
        columns: list[dict[str, Any]],
        leaf_identities: set[str],
        identity: dict[str, Any],
        version: int,
    ) -> list[tuple[int, KeyColumn]]:
        """The columns of the key with their numbers; none where it is of no use."""
        is_index = identity["replica_identity"] == "i"
        # The old row of a change has the columns of the partition's own identity.
        if not leaf_identities <= ({"i", "f"} if is_index else {"d", "f", "n"}):
            return []
        published = {row["number"]: row for row in columns}
        rows = await self._all(KEY, oid)
        if any(row["number"] not in published or len(row["operators"]) != _STRATEGIES for row in rows):
            return []
        bases = {published[row["number"]]["base_oid"] for row in rows}
        safe = {row["oid"]: row["is_byte"] for row in await self._all(SAFE_TYPES, list(bases))}
        if bases - safe.keys() or (any(safe.values()) and version < _FIRST_WITH_READABLE_BYTES):
            return []
        key = {row["number"]: _key_column(row, published[row["number"]]) for row in reversed(rows)}
        return list(reversed(key.items()))

    async def _estimate(self, query: str) -> tuple[int, int]:
        """Rows and bytes a row, as the planner sees them. Raises the errors that reading would."""
        (row,) = await self._all(f"EXPLAIN (FORMAT JSON) {query}")
        plan = row["QUERY PLAN"][0]["Plan"]
        return int(plan["Plan Rows"]), int(plan["Plan Width"])

    async def _one(self, query: str, *arguments: Any) -> dict[str, Any] | None:
        return next(iter(await self._all(query, *arguments)), None)

    async def _all(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query.encode(), arguments or None)
            return await cursor.fetchall()

    def _refused(self, reason: str, hint: str | None) -> SnapshotRefused:
        return SnapshotRefused(f"cannot read table {self._schema}.{self._table}: {reason}", hint=hint)


def _column(row: dict[str, Any], identity: dict[str, Any]) -> Column:
    has_type = row["type_oid"] >= _FIRST_TYPE_MESSAGE
    namespace = "" if row["namespace"] == "pg_catalog" else row["namespace"]
    return Column(
        name=row["name"],
        type_oid=row["type_oid"],
        typmod=row["typmod"],
        is_key=identity["replica_identity"] == "f" or row["number"] in identity["numbers"],
        type_namespace=namespace if has_type else "",
        type_name=row["type_name"] if has_type else "",
    )


def _comparable(row: dict[str, Any]) -> Literal["plain", "enum"] | None:
    if row["base_kind"] == "e":
        return "enum"
    return "plain" if row["namespace"] == "pg_catalog" else None


def _key_column(row: dict[str, Any], column: dict[str, Any]) -> KeyColumn:
    less, less_or_equal, equal, greater_or_equal, greater = (Operator(*names) for names in row["operators"])
    return KeyColumn(
        name=column["name"],
        type=(column["namespace"], column["type_name"]),
        less=less,
        less_or_equal=less_or_equal,
        equal=equal,
        greater_or_equal=greater_or_equal,
        greater=greater,
        is_descending=row["is_descending"],
        are_nulls_first=row["are_nulls_first"],
        collation=tuple(row["collation"]) if row["collation"] else None,
        order=row["order"],
    )
