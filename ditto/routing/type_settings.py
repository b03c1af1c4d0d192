"""`events.types`: which kind the columns of a type have, and what the walsender is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Final

from ditto.config import Types
from ditto.decoding.column_kinds import (
    BOOL,
    BYTEA,
    FLOAT,
    INT,
    JSON,
    TEXT,
    TIMESTAMP,
    TIMESTAMP_UTC,
    TIMESTAMPTZ,
    Kinds,
)

_CHANGES: Final[Mapping[tuple[str, str], dict[str, int]]] = MappingProxyType(
    {
        ("numeric", "string"): {"numeric": TEXT},
        ("numeric", "number"): {"numeric": FLOAT},
        ("int8", "number"): {"int8": INT},
        ("int8", "string"): {"int8": TEXT},
        ("bytea", "base64"): {"bytea": BYTEA},
        ("bytea", "hex"): {"bytea": TEXT},
        ("json", "embed"): {"json": JSON, "jsonb": JSON},
        ("json", "string"): {"json": TEXT, "jsonb": TEXT},
        ("timestamp", "plain"): {"timestamp": TIMESTAMP},
        ("timestamp", "utc"): {"timestamp": TIMESTAMP_UTC},
    }
)

# What wal-listener 2.x makes of each type; everything else is PostgreSQL's text there, arrays too.
_WAL_LISTENER: Final = MappingProxyType(
    {
        "bool": BOOL,
        "int2": INT,
        "int4": INT,
        "int8": INT,
        "timestamp": TIMESTAMP_UTC,
        "timestamptz": TIMESTAMPTZ,
        "jsonb": JSON,
    }
)


def kinds(types: Types, *, not_arrays: Set[tuple[str, str]] = frozenset()) -> Kinds:
    """The kinds of the profile, changed by the options that are given. `not_arrays` is as for `Kinds`."""
    is_wal_listener = types.profile == "wal-listener"
    changes = dict(_WAL_LISTENER) if is_wal_listener else {}
    for option in ("numeric", "int8", "bytea", "json", "timestamp"):
        value = getattr(types, option)
        if value is not None:
            changes.update(_CHANGES[option, value])
    return Kinds(
        changes,
        others=TEXT if is_wal_listener else None,
        arrays_are_text=is_wal_listener,
        not_arrays=not_arrays,
    )


def interval_style(types: Types) -> str:
    """PostgreSQL's setting `intervalstyle` for the walsender: intervals come as they are wanted."""
    return "iso_8601" if types.interval == "iso8601" else "postgres"
