"""What the checks of a sink want to know about PostgreSQL."""

from __future__ import annotations

from msgspec import Struct

from ditto.check.role import Identity
from ditto.source.published_tables import Table
from ditto.source.slot import Slot
from ditto.source.sql import Control


class Source(Struct, frozen=True, kw_only=True):
    """As the checks of PostgreSQL have found it."""

    control: Control
    database: str
    tables: list[Table]
    slot: Slot | None
    identity: Identity | None
