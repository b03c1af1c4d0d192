"""Watches the publication while rows are read: PostgreSQL reports a change not at all, or only with the next row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import structlog

from ditto.config import ACTIONS
from ditto.crowd import stretched
from ditto.errors import PublicationMissing, TableLocked, TableNotPublished
from ditto.hints import RELOAD, full_identity, identifier
from ditto.source.published_tables import Publication, Table, Tables, look_at_publication, look_at_tables
from ditto.source.replica_identity import tables_limited_beyond_identity, tables_without_identity
from ditto.source.sql import Control

log = structlog.get_logger()

_LOOK_PERIOD_S: Final = 5.0
_IDENTITY_LOOKS: Final = 12
_STATEMENTS: Final = 3
"""Identities are looked at again after so many looks, and whenever the publication has changed."""


class PublicationWatch:
    """Compares the publication with what it was before, and with what is `named`, again and again.

    `compare` raises TableNotPublished when something that is named one by one does not come; `names` are those tables'.
    `on_added` hears of new tables.
    """

    def __init__(
        self,
        control: Control,
        publication: str,
        *,
        seen: Publication | None,
        names: Sequence[str],
        compare: Callable[[Publication, Tables], None],
        says_identities: bool,
        on_added: Callable[[Collection[Table]], Awaitable[None]],
    ) -> None:
        self._control = control
        self._name = publication
        self._seen = seen  # None where it could not be seen
        self._names = names
        self._compare = compare
        self._says_identities = says_identities
        self._on_added = on_added
        self._refusing: set[Table] = set()
        self._look_count = 0

    async def run(self) -> None:
        """Until cancelled: look every few seconds, and say what has changed.

        Raises PublicationMissing when it was dropped, and TableNotPublished when it lacks what is named.
        """
        is_suspected = False
        while True:
            await asyncio.sleep(stretched(_LOOK_PERIOD_S))
            try:
                await self._look()
                is_suspected = False
            except TableLocked as error:
                log.debug("publication.not_seen", reason=error.message)
            except TableNotPublished:
                if is_suspected:
                    raise
                is_suspected = True  # a table that was just created may be added to the publication in a moment

    async def _look(self) -> None:
        now = await look_at_publication(self._control, self._name)
        if not now.exists:
            raise PublicationMissing(
                f"publication {now.name} was dropped: changes are not sent any more",
                hint=f"create it again, then drop the slot (ditto slot drop), {RELOAD}",
            )
        if self._names:
            self._compare(now, await look_at_tables(self._control, names=self._names))
        seen, self._seen = self._seen or now, now
        if now.tables != seen.tables:
            await self._tell_tables(seen, now)
        self._tell_options(seen, now)
        if self._says_identities and (now != seen or self._look_count % _IDENTITY_LOOKS == 0):
            await self._tell_identities(now)
        self._look_count += 1

    async def _tell_tables(self, seen: Publication, now: Publication) -> None:
        removed = set(seen.tables).difference(now.tables)
        if seen.is_via_root != now.is_via_root:
            removed = set()  # the same rows come under other names, which is logged
        if removed := await self._existing(removed):
            listed = ", ".join(identifier(*table) for table in sorted(removed))
            log.warning(
                "publication.tables_removed",
                publication=now.name,
                tables=_names(removed),
                reason="they are not published any more: what changes there from now on is in no stream",
                hint=f"unless that is meant: ALTER PUBLICATION {identifier(now.name)} ADD TABLE {listed}; then reload "
                "the consumers of these tables",
            )
        if added := set(now.tables).difference(seen.tables):
            log.info("publication.tables_added", publication=now.name, tables=_names(added))
            await self._on_added(added)

    def _tell_options(self, seen: Publication, now: Publication) -> None:
        if lost := [action for action in ACTIONS if action in seen.actions - now.actions]:
            before = ", ".join(action for action in ACTIONS if action in seen.actions | now.actions)
            log.warning(
                "publication.actions_removed",
                publication=now.name,
                actions=lost,
                reason="they are not published any more: such changes are from now on in no stream",
                hint=f"unless that is meant: ALTER PUBLICATION {identifier(now.name)} SET (publish = '{before}'); then "
                "reload the consumers of all tables",
            )
        if seen.is_via_root != now.is_via_root:
            log.warning(
                "publication.names_changed",
                publication=now.name,
                via_root=now.is_via_root,
                reason="changes of partitions come from now on under the name of "
                + ("the partitioned table" if now.is_via_root else "the partition"),
                hint="see that events.tables, events.topics and the consumers know these names",
            )
        changed = {
            table
            for table in {*seen.limits, *now.limits}
            if seen.limits.get(table) != now.limits.get(table) and (table in now.limits or table in now.tables)
        }
        if changed:
            log.warning(
                "publication.filters_changed",
                publication=now.name,
                tables=_names(changed),
                reason="which rows and columns of them are published has changed: what is filtered out is in no stream",
                hint="unless that is meant: ALTER PUBLICATION … SET TABLE with all its tables and their filters; and "
                "reload the consumers of these tables",
            )

    async def _tell_identities(self, now: Publication) -> None:
        """Whether the publication makes the application's own statements fail."""
        refusing: set[Table] = set()
        if now.actions & {"update", "delete"}:
            refusing.update(await tables_without_identity(self._control, now.tables))
            refusing.update(await tables_limited_beyond_identity(self._control, now.name))
        if new := refusing - self._refusing:
            log.warning(
                "publication.identity_missing",
                publication=now.name,
                tables=_names(new),
                reason="PostgreSQL refuses the application's own UPDATE and DELETE on them, because they are published "
                "and have no usable replica identity",
                hint=f"{'; '.join(full_identity(*table) for table in sorted(new)[:_STATEMENTS])}"
                f"{'; …' if len(new) > _STATEMENTS else ''}; or give each a primary key that is not deferrable; "
                "ditto check prints the statements. Or take them out of the publication",
            )
        self._refusing = refusing

    async def _existing(self, tables: Collection[Table]) -> set[Table]:
        """Those that have not been dropped or renamed."""
        if not tables:
            return set()
        there = await look_at_tables(self._control, names=[name for _, name in tables])
        return set(tables).intersection([*there.all, *there.unfit])


def _names(tables: Collection[Table]) -> list[str]:
    return sorted(f"{schema}.{name}" for schema, name in tables)
