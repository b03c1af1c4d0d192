"""Pipelines that take from one publication, or store in one stream of NATS: what one of them leaves, another needs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

from ditto.config import KEYS
from ditto.config.model import SINKS
from ditto.errors import ConfigError, PipelineRefused
from ditto.fleet.document import Document, resolve
from ditto.fleet.shared_slots import server_of, source_parameters

_OTHER_SINKS: Final = frozenset(SINKS[1:])


def same_publication(
    document: Document, others: Iterable[tuple[str, Document]], environ: Mapping[str, str]
) -> list[str]:
    """The names of those others that take from the same publication. One whose database cannot be told here counts."""
    name = _value(document, "postgres", "publication")
    alike = [each for each in others if _value(each[1], "postgres", "publication") == name]
    own = _database(document, environ) if alike else None
    return sorted(each for each, other in alike if own is None or _database(other, environ) in (None, own))


def same_stream(document: Document, others: Iterable[tuple[str, Document]], environ: Mapping[str, str]) -> list[str]:
    """The names of those others that store in the same stream. One whose servers cannot be told here counts."""
    if _OTHER_SINKS & document.keys():
        return []
    name = _value(document, "nats", "stream")
    alike = [each for each in others if not _OTHER_SINKS & each[1].keys() and _value(each[1], "nats", "stream") == name]
    own = _servers(document, environ) if alike else set()
    found = ((each, _servers(other, environ)) for each, other in alike)
    return sorted(each for each, servers in found if not own or not servers or own & servers)


def _database(document: Document, environ: Mapping[str, str]) -> Hashable:
    server, parameters = server_of(document, environ), source_parameters(document, environ)
    return None if parameters is None else (server, parameters.get("dbname"))


def _servers(document: Document, environ: Mapping[str, str]) -> set[Hashable]:
    """Addresses, without what signs in; empty where they cannot be told here."""
    try:
        nats = resolve("x", {"nats": _section(document, "nats")}, environ).nats
    except (ConfigError, PipelineRefused):
        return set()
    return {(url.rpartition("@")[2].rpartition("//")[2].rstrip("/"), nats.domain) for url in nats.servers}


def _value(document: Document, section: str, key: str) -> str:
    return str(_section(document, section).get(key) or KEYS[f"{section}.{key}"].default)


def _section(document: Document, name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}
