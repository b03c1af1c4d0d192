"""What the configuration makes of changes: planner, options of the decoder, format; for a pipeline and its preview."""

from __future__ import annotations

from functools import partial

from ditto.config import Events
from ditto.decoding.messages import Extras
from ditto.formats.base import Format
from ditto.formats.bodies import with_bodies
from ditto.formats.choose import BlockFormat, TableFormats, needs_transactions
from ditto.formats.ditto import DittoFormat
from ditto.routing.planner import Planner
from ditto.routing.table_formats import TablesFormats
from ditto.sinks.base import Capabilities
from ditto.source.array_types import not_arrays
from ditto.source.partitions import partition_relatives
from ditto.source.replica_identity import primary_key
from ditto.source.sql import Control
from ditto.source.type_facts import type_facts


def make_planner(
    events: Events, control: Control, *, database: str, system_identifier: str, sink: Capabilities
) -> Planner:
    """The planner of one session, which asks the server by this connection; the identifier is the cluster's."""
    formats = TableFormats(events, system_identifier=system_identifier, database=database)
    return Planner(
        events,
        database=database,
        primary_key=partial(primary_key, control),
        not_arrays=partial(not_arrays, control),
        relatives=partial(partition_relatives, control),
        formats=TablesFormats(events, formats, find_types=partial(type_facts, control)),
        has_keys=sink.has_keys,
        route_limit=sink.route_limit,
    )


def make_extras(events: Events) -> Extras:
    """What events say beside the change itself."""
    return Extras(
        frozenset(events.metadata), has_transactions=needs_transactions(events), marks_last=events.transactions
    )


def make_format(events: Events) -> Format:
    """What makes payloads of a block."""
    return BlockFormat(with_bodies(DittoFormat(), events))
