"""Pipelines that read one slot. That is allowed, a holder and its standby, and nearly always a mistake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ditto.config import KEYS
from ditto.config.dsn import parameters_of
from ditto.errors import ConfigError, PipelineRefused
from ditto.fleet.document import Document, resolve

_MOST_NAMES: Final = 5


def readers(document: Document, others: Iterable[tuple[str, Document]], environ: Mapping[str, str]) -> list[str]:
    """The names of those others that read the same slot: with the references resolved from the environment where that
    can be, otherwise by their texts.
    """
    slot, place = _slot(document), None
    names = []
    for name, other in others:
        if _slot(other) != slot:
            continue  # to read a connection string takes time
        if _dsn(other) != _dsn(document):
            place = place or server_of(document, environ)
            if place is None or server_of(other, environ) != place:
                continue
        names.append(name)
    return sorted(names)


def shared_slot(document: Document, others: Iterable[tuple[str, Document]], environ: Mapping[str, str]) -> list[str]:
    """A sentence where one of the others reads the same slot."""
    if not (names := readers(document, others, environ)):
        return []
    return [
        f"postgres.slot: {_slot(document)} is also the slot of {named(names)}; only one pipeline reads a slot at a "
        "time, and the others wait as its standbys: give each a slot of its own, unless that is meant"
    ]


def named(names: list[str]) -> str:
    """In words."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"pipeline{'s' if len(names) > 1 else ''} {', '.join(names[:_MOST_NAMES])}{more}"


def server_of(document: Document, environ: Mapping[str, str]) -> tuple[Any, ...] | None:
    """Host and port of PostgreSQL; None where they cannot be told here."""
    found = source_parameters(document, environ)
    return None if found is None else (found.get("host"), found.get("hostaddr"), found.get("port") or "5432")


def source_parameters(document: Document, environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Those of the connection string; None where they cannot be told here."""
    try:
        dsn = resolve("x", {"postgres": {"dsn": _dsn(document)}}, environ).postgres.dsn
        return parameters_of(dsn)
    except (ConfigError, PipelineRefused, ValueError):
        return None


def _slot(document: Document) -> str:
    return str(_source(document).get("slot") or KEYS["postgres.slot"].default)


def _dsn(document: Document) -> str:
    return str(_source(document).get("dsn") or KEYS["postgres.dsn"].default)


def _source(document: Document) -> dict[str, Any]:
    section = document.get("postgres")
    return section if isinstance(section, dict) else {}
