"""Descriptions of tables: the messages under `_schema`, and the version that stands for a table's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import msgspec
import structlog

from ditto.decoding.column_kinds import Kinds
from ditto.decoding.messages import Column, Relation
from ditto.formats import deep_json
from ditto.routing.table_columns import TableColumns

log = structlog.get_logger()

_IDENTITIES: Final = MappingProxyType({"d": "default", "n": "nothing", "f": "full", "i": "index"})


class ColumnDescription(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One column."""

    name: str
    type: str
    """`int4`, `numeric[]`, `public.mood`; the base type's for a domain."""
    type_oid: int
    typmod: int
    """The type's modifier as pg_attribute has it, -1 for none."""
    is_key: bool = msgspec.field(name="key")
    """Part of the replica identity."""
    is_masked: bool = msgspec.field(name="masked", default=False)
    """Events have a text, or null, in place of its values; absent for false."""


class TableDescription(msgspec.Struct, frozen=True, rename="camel"):
    """What a table looked like from one event on. Public, as the event is."""

    schema: str
    table: str
    version: str
    """A hash of identity and columns: equal as long as these are."""
    replica_identity: str
    """`default`, `nothing`, `full` or `index`."""
    primary_key: list[str]
    """Names of the columns that tell rows apart; empty where there are none."""
    columns: list[ColumnDescription]


_DESCRIPTION: Final = msgspec.json.Decoder(TableDescription)


class Description(msgspec.Struct, frozen=True):
    """A description of a table, and where it is published."""

    route: bytes
    version: str
    table: TableDescription


def describe(
    relation: Relation, kinds: Kinds, chosen: TableColumns, *, route: bytes, version: str, primary_key: Sequence[str]
) -> Description:
    """The description of a relation, of which events have the `chosen` columns; `version` is `schema_version(…)`."""
    columns = [
        ColumnDescription(
            column.name,
            _type_name(column, kinds),
            column.type_oid,
            column.typmod,
            column.is_key,
            column.name in chosen.masks,
        )
        for column in relation.columns
        if column.name not in chosen.excluded
    ]
    identity = _IDENTITIES[relation.replica_identity]
    table = TableDescription(relation.namespace, relation.name, version, identity, list(primary_key), columns)
    return Description(route, version, table)


def schema_version(relation: Relation, kinds: Kinds, chosen: TableColumns) -> str:
    """A hash that is equal as long as the table's name, identity and `chosen` columns are."""
    columns = [
        {
            "name": column.name,
            "type_oid": column.type_oid,
            "typmod": column.typmod,
            "is_key": column.is_key,
            "type_name": _type_name(column, kinds),
            **({"is_masked": True} if column.name in chosen.masks else {}),
        }
        for column in relation.columns
        if column.name not in chosen.excluded
    ]
    text = msgspec.json.encode([relation.namespace, relation.name, relation.replica_identity, columns])
    return blake2b(text, digest_size=8).hexdigest()


def stored_versions(stored: Mapping[str, bytes]) -> dict[bytes, str]:
    """By route, the version of the last description that the sink holds there; `stored` has its payloads."""
    found = {}
    for route, payload in stored.items():
        try:
            found[route.encode()] = deep_json.decode(payload, _DESCRIPTION).version
        except msgspec.MsgspecError:
            log.warning(
                "stream.foreign_message",
                subject=route,
                reason="it is no description of a table: another one is stored before the table's next event",
            )
    return found


def _type_name(column: Column, kinds: Kinds) -> str:
    return kinds.type_name(column.type_oid, column.type_namespace, column.type_name)
