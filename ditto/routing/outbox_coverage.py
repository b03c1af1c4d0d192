"""The outbox against what the publication sends. Pure."""

from __future__ import annotations

from ditto.config import Events
from ditto.errors import TableNotPublished
from ditto.hints import identifier
from ditto.source.published_tables import Publication, Tables


def check_outbox_published(events: Events, publication: Publication, tables: Tables) -> None:
    """Raise TableNotPublished where the inserts of the outbox do not come, or not under its name."""
    if events.outbox is None:
        return
    table, name = events.outbox.name, identifier(publication.name)
    written = f"events.outbox.table is {events.outbox.table}, and"
    again = "then start again; rows that were inserted before that are in no message"
    if "insert" not in publication.actions:
        actions = ", ".join(sorted({*publication.actions, "insert"}))
        raise TableNotPublished(
            f"{written} publication {publication.name} does not publish inserts",
            hint=f"ALTER PUBLICATION {name} SET (publish = '{actions}'); {again}",
        )
    if table in publication.tables:
        return
    if table not in [*tables.all, *tables.unfit]:
        raise TableNotPublished(
            f"{written} there is no such table", hint="create it, and add it to the publication; or correct the name"
        )
    if table in tables.unfit:
        raise TableNotPublished(
            f"{written} that is {tables.unfit[table]}: PostgreSQL sends no changes of it",
            hint="an unlogged table can be made an ordinary one: ALTER TABLE … SET LOGGED",
        )
    if table in publication.members or (publication.is_open and table in tables.roots):
        raise TableNotPublished(
            f"{written} publication {publication.name} sends its rows under the names of its partitions",
            hint=f"ALTER PUBLICATION {name} SET (publish_via_partition_root = true); {again}",
        )
    raise TableNotPublished(
        f"{written} publication {publication.name} does not have that table",
        hint=f"ALTER PUBLICATION {name} ADD TABLE {identifier(*table)}; {again}",
    )
