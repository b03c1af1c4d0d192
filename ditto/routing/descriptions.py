"""Descriptions of tables: what the events' metadata says about them, and the messages under `_schema`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
import structlog

from ditto.config import Events
from ditto.decoding.messages import Relation, Targets
from ditto.formats import nested
from ditto.routing.router import SCHEMA, Router, encode_token

log = structlog.get_logger()

_IDENTITIES: Final = MappingProxyType({"d": "default", "n": "nothing", "f": "full", "i": "index"})


class ColumnDescription(msgspec.Struct, frozen=True, rename="camel"):
    """One column."""

    name: str
    type: str
    """`int4`, `numeric[]`, `public.mood`; the base type's for a domain."""
    type_oid: int
    typmod: int
    """The type's modifier as pg_attribute has it, -1 for none."""
    is_key: bool = msgspec.field(name="key")
    """Part of the replica identity."""


class TableDescription(msgspec.Struct, frozen=True, rename="camel"):
    """What a table looked like from one event on. Public, as the event is."""

    schema: str
    table: str
    version: str
    """Stands for identity and columns: equal as long as these are."""
    replica_identity: str
    """`default`, `nothing`, `full` or `index`."""
    primary_key: list[str]
    """Names of the columns that tell rows apart; empty where there are none."""
    columns: list[ColumnDescription]


_DESCRIPTION: Final = msgspec.json.Decoder(TableDescription)


class Unkeyed(NamedTuple):
    """A relation whose Relation message does not tell the primary key, and the list that waits for it."""

    relation: Relation
    primary_key: list[str]


class Describer:
    """Completes each relation's targets with what `events.metadata` and `events.schemas` ask for."""

    def __init__(self, config: Events, router: Router) -> None:
        self._router = router
        self._stores = config.schemas
        self._prefix = f"{config.prefix}.{SCHEMA}"
        self._is_keyed = config.schemas or "primary_key" in config.metadata
        self._is_wanted = self._is_keyed or "schema_version" in config.metadata
        self._known: dict[str, str] = {}
        self._unkeyed: list[Unkeyed] = []

    @property
    def wildcard(self) -> str | None:
        """What covers the descriptions' subjects; None where none are stored."""
        return f"{self._prefix}.>" if self._stores else None

    def know(self, stored: Mapping[str, bytes]) -> None:
        """These descriptions, by subject, are the last ones that the stream holds."""
        for subject, payload in stored.items():
            try:
                self._known[subject] = nested.decode(payload, _DESCRIPTION).version
            except msgspec.MsgspecError:
                log.warning(
                    "stream.foreign_message",
                    subject=subject,
                    reason="it is no description of a table: another one is stored before the table's next event",
                )

    def select(self, relation: Relation) -> Targets:
        """The targets of a relation, for the decoder."""
        targets = self._router.select(relation)
        if not self._is_wanted or not any(targets[:4]):
            return targets
        version = _version(relation)
        targets = targets._replace(schema_version=version)
        if self._is_keyed:
            # One list for all that name the key: it may be filled in later.
            primary_key = self._primary_key(relation)
            targets = targets._replace(primary_key=primary_key)
        if self._stores:
            subject = self._subject(relation.namespace, relation.name)

            def describe() -> tuple[TableDescription, bytes] | None:
                # Not before an event is there: what is filtered, or stored already, brings no description.
                if self._known.get(subject) == version:
                    return None
                self._known[subject] = version
                return _describe(relation, version, primary_key), subject.encode()

            targets = targets._replace(describe=describe)
        return targets

    def forget(self, tables: Collection[tuple[str, str]]) -> None:
        """These have been dropped; one that is made anew is described again."""
        for table in tables:
            self._known.pop(self._subject(*table), None)

    def _subject(self, namespace: str, name: str) -> str:
        return f"{self._prefix}.{encode_token(namespace)}.{encode_token(name)}"

    def _primary_key(self, relation: Relation) -> list[str]:
        """The columns of the replica identity, where these are a key."""
        if relation.replica_identity in "di":
            return [column.name for column in relation.columns if column.is_key]
        unkeyed = Unkeyed(relation, [])
        self._unkeyed.append(unkeyed)
        return unkeyed.primary_key

    def take_unkeyed(self) -> list[Unkeyed]:
        """Those that came up since the last call: their lists are to be filled before their events are encoded."""
        if not self._unkeyed:
            return self._unkeyed
        unkeyed, self._unkeyed = self._unkeyed, []
        return unkeyed


def _version(relation: Relation) -> str:
    text = msgspec.json.encode([relation.namespace, relation.name, relation.replica_identity, relation.columns])
    return blake2b(text, digest_size=8).hexdigest()


def _describe(relation: Relation, version: str, primary_key: list[str]) -> TableDescription:
    return TableDescription(
        relation.namespace,
        relation.name,
        version,
        _IDENTITIES[relation.replica_identity],
        primary_key,
        [
            ColumnDescription(column.name, column.type_name, column.type_oid, column.typmod, column.is_key)
            for column in relation.columns
        ],
    )
