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
            place = place or _place(document, environ)
            if place is None or _place(other, environ) != place:
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


def _place(document: Document, environ: Mapping[str, str]) -> tuple[Any, ...] | None:
    """Of the server; None where it cannot be told here."""
    try:
        dsn = resolve("x", {"postgres": {"dsn": _dsn(document)}}, environ).postgres.dsn
        parameters = parameters_of(dsn)
    except (ConfigError, PipelineRefused, ValueError):
        return None
    return parameters.get("host"), parameters.get("hostaddr"), parameters.get("port") or "5432"


def _slot(document: Document) -> str:
    return str(_source(document).get("slot") or KEYS["postgres.slot"].default)


def _dsn(document: Document) -> str:
    return str(_source(document).get("dsn") or KEYS["postgres.dsn"].default)


def _source(document: Document) -> dict[str, Any]:
    section = document.get("postgres")
    return section if isinstance(section, dict) else {}
