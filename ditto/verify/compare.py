"""Compares replayed tables with the real ones, row by row, as text.

PostgreSQL only writes: the tables are read as COPY writes them, which is how it sends values to Ditto, in one read-only
transaction that sees one moment. No cast, policy, constraint or input function is called that a user has made.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from psycopg import sql

from ditto.config import Types
from ditto.errors import ConnectionLost, ServerNotReady, SourceError
from ditto.verify.catalogue import Published, find_table
from ditto.verify.difference import Difference, Unjudged
from ditto.verify.explain import explain
from ditto.verify.recreated import RecreatedTables
from ditto.verify.row_matching import Match
from ditto.verify.ruled_tables import RowCondition, RuledTables
from ditto.verify.table_history import Version, read_history, read_xids

if TYPE_CHECKING:
    from collections.abc import Callable

    from ditto.source.sql import Control
    from ditto.verify.catalogue import Publication, Table, TableName
    from ditto.verify.replay import Replay
    from ditto.verify.table_history import Xids

SILENCE_S: Final = 300
"""How long PostgreSQL may take to find the next row of a table."""
_PAUSE_ROWS: Final = 1000
"""After so many the event loop has its turn."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""All other settings are pinned when the connection is made."""

_ROOTS: Final = "of a partition that was detached or dropped the stream keeps the rows, under the root's name: {roots}"
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_DEFAULT: Final = Types()


@dataclass(kw_only=True)
class Comparison:
    rows: int = 0
    """Rows of the real tables, every one of them compared."""
    tables: int = 0
    differences: list[Difference] = field(default_factory=list)
    unjudged: list[Unjudged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Possible explanations of differences."""


async def compare(
    control: Control,
    replay: Replay,
    *,
    publication: Publication | None = None,
    leave_out: Collection[TableName] = (),
    types: Types | Callable[[TableName], Types] = _DEFAULT,
    ruled: RuledTables | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    """Compare every replayed table, and those of the publication that have no events, with the real ones.

    Equal means equal as PostgreSQL's own text. Columns and rows that the publication leaves out are not compared, nor
    are generated columns. `types` are the options that the events were written with,
    all or by table; `ruled` what rules say of tables.
    `on_progress` gets the rows that are done and the rows in all. Raises ConnectionLost and ServerNotReady; a table
    that cannot be read for another reason is in `unjudged`.
    """
    published = publication.tables if publication else dict.fromkeys(replay.tables, Published())
    result = Comparison()
    total = sum(map(len, replay.tables.values()))
    await control.fetch(_BEGIN, doing="begin to read the tables")
    try:
        xids = await read_xids(control)
        since = publication.xid if publication else 0
        comparer = _Comparer(
            control,
            replay,
            xids,
            since,
            types,
            ruled or RuledTables(),
            result,
            lambda done: on_progress(min(done, total), total),
            has_orphans=any(copy and name not in published for name, copy in replay.tables.items()),
        )
        for name in sorted({*replay.tables, *published} - set(leave_out)):
            await comparer.compare(name, published.get(name))
        differences, unjudged = comparer.recreated.decide()
        result.differences += differences
        roots = {table for table in comparer.roots if any(each.table == table for each in result.differences)}
        if roots:
            result.notes.append(_ROOTS.format(roots=", ".join(sorted(roots))))
        result.unjudged += unjudged
    finally:
        with suppress(SourceError):  # the connection is broken then
            await control.fetch("ROLLBACK", doing="end reading the tables")
    return result


class _Comparer:
    """Compares one table after the other."""

    def __init__(
        self,
        control: Control,
        replay: Replay,
        xids: Xids,
        since: int,
        types: Types | Callable[[TableName], Types],
        ruled: RuledTables,
        result: Comparison,
        on_progress: Callable[[int], None],
        *,
        has_orphans: bool,
    ) -> None:
        self.recreated = RecreatedTables(xids)
        self.roots: set[str] = set()
        """Partitioned tables."""
        self._control = control
        self._replay = replay
        self._xids = xids
        self._since = since
        self._types_of = (lambda _: types) if isinstance(types, Types) else types
        self._ruled = ruled
        self._result = result
        self._on_progress = on_progress
        self._has_orphans = has_orphans

    async def compare(self, name: TableName, published: Published | None) -> None:
        copy = self._replay.tables.get(name)
        full_name = ".".join(name)
        try:
            await self._control.fetch("SAVEPOINT compared", doing=f"compare table {full_name}")
            table = await find_table(self._control, name, published or Published())
            if table is None or published is None or table.obstacle:
                reason = (
                    "it does not exist any more, and neither DROP TABLE nor a new name sends an event"
                    if table is None
                    else "it is not published any more"
                    if published is None
                    else table.obstacle
                )
                if reason and (copy or published):
                    is_obstacle = table is not None and published is not None
                    self._result.unjudged.append(Unjudged(full_name, reason, is_obstacle=is_obstacle))
                return
            if table.is_partitioned:
                self.roots.add(full_name)
            table = self._ruled.of(table)
            if stripped := self._replay.stripped.get(name, set()) & table.columns.keys():
                table = replace(
                    table, columns={each: table.columns[each] for each in table.columns if each not in stripped}
                )
                reason = f"some events of it have no {' and no '.join(sorted(stripped))}, which made them too large"
                self._result.unjudged.append(Unjudged(full_name, reason))
            condition = self._ruled.conditions.get(name)
            match = Match(
                table,
                copy,
                self._replay.keys.get(name, ()),
                self._types_of(name),
                may_lack_columns=condition is not None,
            )
            await self._scan(table, published, match, condition)
            if name in self._ruled.unsteady:
                match.lsn_of_xid.clear()
            await self._judge(table, match)
            self._result.tables += 1
            self._result.rows += match.rows
        except (ConnectionLost, ServerNotReady):
            raise
        except SourceError as error:
            await self._control.fetch("ROLLBACK TO compared", doing=f"leave table {full_name}")
            hint = f" ({error.hint})" if error.hint else ""
            self._result.unjudged.append(Unjudged(full_name, f"{error.message}{hint}", is_obstacle=True))

    async def _scan(self, table: Table, published: Published, match: Match, condition: RowCondition | None) -> None:
        read_names = [*match.columns, *(() if condition is None else condition.columns)]
        columns = sql.SQL(", ").join([sql.SQL("tableoid"), sql.SQL("xmin"), *map(sql.Identifier, read_names)])
        count = len(match.columns)
        query = sql.SQL("COPY (SELECT {columns} FROM {only}{table}{where}) TO STDOUT").format(
            columns=columns,
            only=sql.SQL("" if table.is_partitioned else "ONLY "),  # without the tables that inherit from it
            table=sql.Identifier(*table.full_name),
            where=sql.SQL(f" WHERE {published.row_filter}" if published.row_filter else ""),  # as the catalogue has it
        )
        xids = self._xids

        async def read() -> None:
            async with (
                self._control.connection.cursor() as cursor,
                cursor.copy(query.as_string().encode()) as rows,
            ):
                async for line in rows:
                    oid, xid, *texts = _fields(bytes(line))
                    version = Version(int(oid or 0), int(xid or 0))
                    oldest = match.oldest.get(version.oid)
                    if oldest is None or xids.is_before(version.xid, oldest):
                        match.oldest[version.oid] = version.xid
                    if condition is None or condition.is_fulfilled([*texts[count:]]):
                        match.take(version, tuple(texts[:count]))
                    if not match.rows % _PAUSE_ROWS:
                        self._on_progress(self._result.rows + match.rows)
                        await asyncio.sleep(0)

        await self._control.within(
            read(), doing=f"read table {table.name}", timeout_s=SILENCE_S, progress=lambda: match.rows
        )
        self._on_progress(self._result.rows + match.rows)

    async def _judge(self, table: Table, match: Match) -> None:
        copy = self._replay.tables.get(table.full_name)
        faults = [] if copy is None else copy.faults
        has_shapes = copy is not None and copy.has_shapes
        left = list(match.left())
        if table.full_name in self._ruled.conditions:  # what an event contradicts may have been changed without one
            faults, left = [], []
        if not (match.mismatches or match.unmatched or match.unexamined or left or faults):
            self.recreated.learn(match.lsn_of_xid)
            return
        history = await read_history(self._control, table, xids=self._xids, since=self._since, oldest=match.oldest)
        if not history.is_rewritten:  # otherwise rows are by younger transactions than their events
            self.recreated.learn(match.lsn_of_xid)
        outcome = explain(
            table.name, match, left, faults, history, has_orphans=self._has_orphans, has_shapes=has_shapes
        )
        self._result.differences += outcome.differences
        self._result.unjudged += [Unjudged(table.name, reason) for reason in outcome.reasons]
        self.recreated.suspect(
            created=history.created,
            is_young=history.is_younger_than_publication,
            first_lsn=match.first_lsn,
            suspects=outcome.suspects,
        )


def _fields(line: bytes) -> list[str | None]:
    r"""The values of a row as COPY writes it: `\N` is NULL.

    https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
    """
    text = line.decode("utf-8", "surrogateescape").removesuffix("\n")
    if "\\" not in text:
        return list(text.split("\t"))
    return [
        None if value == r"\N" else _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), value)
        for value in text.split("\t")
    ]
