"""What is impossible in the section of NATS."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ditto.config.durations import check_positive
from ditto.config.impossible import Impossible
from ditto.config.template_syntax import is_subject
from ditto.config.tls import half_given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ditto.config.nats_connection import NatsConnection


def _stream(value: str) -> str:
    if not value or len(value) > 255 or not value.isprintable() or re.search(r"[\s.*>/\\]", value):
        raise Impossible(r"must be 1 to 255 characters, without white space and without . * > / \ ")
    return value


def _url(value: str | list[str]) -> str | list[str]:
    servers = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not servers:
        raise Impossible("must name at least one server")
    for server in servers:
        try:
            parts = urlsplit(server if "://" in server else f"nats://{server}")
            is_possible = parts.scheme in {"nats", "tls"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_possible = False
        if not is_possible or re.search(r"\s", server):
            raise Impossible(
                "must be a NATS address such as nats://localhost:4222 or tls://nats.example.com:4222",
                hint="percent-encode the characters : / @ , ? # % in a user and a password; several servers can be "
                "given as a list",
            )
    servers = [_lower_scheme(server) for server in servers]
    return servers if len(servers) > 1 or isinstance(value, list) else servers[0]


def _lower_scheme(server: str) -> str:
    scheme, has_scheme, rest = server.rpartition("://")
    return f"{scheme.lower()}{has_scheme}{rest}"


def _bucket(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,240}", value):
        raise Impossible("must be letters, digits, _ and -: the name of a bucket")
    return value


def _domain(value: str | None) -> str | None:
    if value is not None and (not is_subject(value) or "." in value):
        raise Impossible("must be the name of a JetStream domain: no white space, no dot, no * or >")
    return value


def _inbox_prefix(value: str) -> str:
    if not is_subject(value):
        raise Impossible("must be the beginning of a NATS subject, without a dot at the end: no white space, no * or >")
    return value


def _object_ttl(value: float) -> float:
    if value != 0 and value < 0.1:  # nats-server's own bound, of which it tells when the bucket is created
        raise Impossible("must be 0 (for ever) or at least 100ms")
    return value


def contradiction(nats: NatsConnection) -> tuple[str, str, str | None] | None:
    """Key, sentence and hint, where keys of the section contradict each other."""
    given = [name for name in ("user", "token", "creds", "nkey_seed") if getattr(nats, name) is not None]
    if len(given) > 1:
        names = " and ".join(f"nats.{name}" for name in given)
        return f"nats.{given[1]}", f"{names} exclude each other", "give one way to authenticate"
    if nats.password is not None and nats.user is None:
        return "nats.password", "nats.password is given without nats.user", None
    return half_given(nats.tls, "nats.tls")


NATS_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "nats.url": _url,
        "nats.stream": _stream,
        "nats.domain": _domain,
        "nats.object_store.bucket": _bucket,
        "nats.object_store.ttl": _object_ttl,
        "nats.inbox_prefix": _inbox_prefix,
        "nats.ack_timeout": check_positive,
    }
)
"""By key, as `validation.CHECKS`."""
