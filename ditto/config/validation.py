"""Impossible values: what has the right type and still cannot be."""

from __future__ import annotations

import ipaddress
import re
import string
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ditto.config.dsn import parameters_of, without_replication
from ditto.config.format_rules import check_formats
from ditto.config.impossible import Impossible
from ditto.config.kafka import KAFKA_CHECKS
from ditto.config.kafka import contradiction as kafka_contradiction
from ditto.config.message_rules import (
    check_column,
    check_messages,
    check_messages_together,
    check_outbox_former,
    check_outbox_subject,
    check_table,
)
from ditto.config.redis import check_key_prefix, check_url
from ditto.config.redis import contradiction as redis_contradiction
from ditto.config.table_rules import REGEX, check_entry, check_key
from ditto.config.template_syntax import PLACEHOLDERS, is_subject
from ditto.config.webhook import (
    check_address,
    check_credential,
    check_headers,
    check_max_bytes,
    check_secret,
    check_user,
    contradiction,
)
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ditto.config.model import Config

TEXTS: Mapping[str, str] = MappingProxyType({"name": r"[A-Za-z0-9._-]{1,63}", "postgres.slot": r"[a-z0-9_]{1,63}"})
"""By key: the pattern that the whole text has to match."""

_MAX_PREFIX = 1024
_MAX_SUBJECT = 3900
_NAME_BYTES = 63  # NAMEDATALEN - 1: PostgreSQL cuts longer names off, or refuses them


def _dsn(value: str) -> str:
    hint = "percent-encode the characters : / @ ? # % in the user and the password of a URL"
    try:
        parameters = parameters_of(value)
    except ValueError:
        if re.search(r"[?&]pgbouncer=", value):
            raise Impossible(
                "has the parameter pgbouncer, which libpq does not know",
                hint="leave it out, and give the address of PostgreSQL itself: Ditto cannot work through PgBouncer",
            ) from None
        # libpq's own message quotes the part it did not understand, which may be the password.
        raise Impossible("is not a connection string that libpq can read", hint=hint) from None
    # A password with a / or @ ends up in host and port: refuse it here, before anything prints those.
    if re.search(r"[^0-9,]", str(parameters.get("port") or "")) or "@" in str(parameters.get("host") or ""):
        raise Impossible("has an impossible host or port", hint=hint)
    return without_replication(value)


def _name(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(TEXTS["name"], value):
        raise Impossible("must be 1 to 63 letters, digits, and the signs . _ -")
    return value


def _slot(value: str) -> str:
    if not re.fullmatch(TEXTS["postgres.slot"], value):
        raise Impossible("must be 1 to 63 lower-case letters, digits and underscores, as PostgreSQL demands of a slot")
    return value


def _publication(value: str) -> str:
    if not 0 < len(value.encode()) <= _NAME_BYTES or "\0" in value:
        raise Impossible(f"must be 1 to {_NAME_BYTES} bytes long")
    return value


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


def _path(value: str) -> str:
    if not value or "\0" in value:
        raise Impossible('must be the path of a file, or "-" for standard output')
    return value


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


def _positive_seconds(value: float) -> float:
    if value <= 0:
        raise Impossible("must be longer than 0")
    return value


def _seconds(value: float) -> float:
    if value < 0:
        raise Impossible("must not be negative")
    return value


def _object_ttl(value: float) -> float:
    if value != 0 and value < 0.1:  # nats-server's own bound, of which it tells when the bucket is created
        raise Impossible("must be 0 (for ever) or at least 100ms")
    return value


def _lease_ttl(value: float) -> float:
    if value != 0 and value < 1:
        raise Impossible("must be 0 (no lease) or at least one second")
    return value


def split_address(text: str) -> tuple[str, int]:
    """Host (empty for every address) and port of `host:port`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or re.search(r"[\s/]", host):
        raise ValueError(text)
    return host, int(port)


def is_loopback(listen: str) -> bool:
    """Whether only this machine can connect to that address."""
    host, _ = split_address(listen)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(value: str | None) -> str | None:
    if value is not None:
        try:
            split_address(value)
        except ValueError:
            raise Impossible(
                "must be host:port or :port, such as 127.0.0.1:8080 or :8080", hint="put an IPv6 address in [ ]"
            ) from None
    return value


def _http_token(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[!-~]+", value):
        raise Impossible("must be printable ASCII characters without white space, and not empty")
    return value


def _prefix(value: str) -> str:
    if len(value.encode()) > _MAX_PREFIX:
        raise Impossible(f"must be at most {_MAX_PREFIX:,} bytes long: nats-server takes no long subjects")
    if not is_subject(value):
        raise Impossible(
            "must be the beginning of a NATS subject: no white space, no * or >, no empty part between dots"
        )
    return value


def _subject(value: str) -> str:
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError as error:
        raise Impossible(f"is not a template: {error}") from None
    names = [name for _, name, _, _ in parts if name is not None]
    for name in names:
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise Impossible(f"has the unknown placeholder {{{name}}}", hint=f"the placeholders are {known}")
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise Impossible("has a placeholder with a format, which is not supported")
    if "table" not in names:
        raise Impossible("must contain {table}")
    if not is_subject(value.format_map(dict.fromkeys(PLACEHOLDERS, "x"))):
        raise Impossible("must give a NATS subject: no white space, no * or >, no empty part between dots")
    return value


def _group_subject(value: str) -> str:
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError as error:
        raise Impossible(f"is not a template: {error}") from None
    names = {name for _, name, _, _ in parts if name is not None}
    if unknown := sorted(names - {"prefix", "database"}):
        raise Impossible(
            f"has the placeholder {{{unknown[0]}}}",
            hint="a group has events of several tables: the placeholders are {prefix} and {database}",
        )
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise Impossible("has a placeholder with a format, which is not supported")
    if len(value.encode()) > _MAX_PREFIX:
        raise Impossible(f"must be at most {_MAX_PREFIX:,} bytes long: nats-server takes no long subjects")
    if not is_subject(value.format_map({"prefix": "x", "database": "x"})):
        raise Impossible("must give a NATS subject: no white space, no * or >, no empty part between dots")
    return value


def _tables(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    if not value:
        raise Impossible("must name a table: as it is, nothing would pass", hint="leave the key out to pass everything")
    for table, entry in value.items():
        check_entry(table, entry)
    return value


def _topics(value: dict[str, str]) -> dict[str, str]:
    for table, subject in value.items():
        check_key("events.topics", table)
        if len(subject.encode()) > _MAX_SUBJECT:
            raise Impossible(
                f"must be at most {_MAX_SUBJECT:,} bytes long: nats-server takes no longer subject",
                place=f"events.topics.{table}",
            )
        if not is_subject(subject):
            raise Impossible(
                "must be a whole NATS subject: no white space, no * or >, no empty part between dots",
                place=f"events.topics.{table}",
            )
    return value


def _snapshot_tables(value: list[str] | None) -> list[str] | None:
    if value is not None and not value:
        raise Impossible("must name a table: as it is, nothing would be read", hint="leave the key out to read all")
    if value is not None and not all(each.strip() for each in value):
        raise Impossible("has an empty table name")
    if value is not None and any(each.startswith(REGEX) for each in value):
        raise Impossible("has a regular expression: it takes names of tables, and globs of them")
    return value


CHECKS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "name": _name,
        "postgres.dsn": _dsn,
        "postgres.slot": _slot,
        "postgres.publication": _publication,
        "nats.url": _url,
        "nats.stream": _stream,
        **KAFKA_CHECKS,
        "redis.url": check_url,
        "redis.key_prefix": check_key_prefix,
        "redis.ack_timeout": _positive_seconds,
        "webhook.url": check_address,
        "webhook.secret": check_secret,
        "webhook.token": check_credential,
        "webhook.user": check_user,
        "webhook.headers": check_headers,
        "webhook.max_bytes": check_max_bytes,
        "webhook.linger": _seconds,
        "webhook.timeout": _positive_seconds,
        "webhook.retry_for": _positive_seconds,
        "file.path": _path,
        "nats.domain": _domain,
        "nats.object_store.bucket": _bucket,
        "nats.object_store.ttl": _object_ttl,
        "nats.inbox_prefix": _inbox_prefix,
        "nats.ack_timeout": _positive_seconds,
        "delivery.confirm_delay": _seconds,
        "delivery.lease_ttl": _lease_ttl,
        "events.prefix": _prefix,
        "events.subject": _subject,
        "events.group.subject": _group_subject,
        "events.tables": _tables,
        "events.topics": _topics,
        "events.messages": check_messages,
        "events.outbox.table": check_table,
        "events.outbox.subject": check_outbox_subject,
        "events.outbox.payload": check_column,
        "events.outbox.id": check_column,
        "events.outbox.key": check_column,
        "events.outbox.headers": check_column,
        "events.outbox.former": check_outbox_former,
        "snapshot.tables": _snapshot_tables,
        "http.listen": _listen,
        "http.token": _http_token,
    }
)
"""By key: takes the value, returns it (put in order where there are several notations) or raises Impossible."""


def check_together(config: Config) -> None:
    """Raise ConfigError where keys contradict each other."""
    _check_group(config)
    if config.events.oversize == "object_store" and config.sink != "nats":
        raise ConfigError(
            "events.oversize: object_store is given for a file, which takes events of any size"
            if config.sink == "file"
            else f"events.oversize: object_store is given for {config.sink}, which has no object store",
            hint="leave events.oversize out",
            key="events.oversize",
        )
    check_formats(config.events)
    nats = config.nats
    given = [name for name in ("user", "token", "creds", "nkey_seed") if getattr(nats, name) is not None]
    if len(given) > 1:
        names = " and ".join(f"nats.{name}" for name in given)
        raise ConfigError(f"{names} exclude each other", hint="give one way to authenticate", key=f"nats.{given[1]}")
    if nats.password is not None and nats.user is None:
        raise ConfigError("nats.password is given without nats.user", key="nats.password")
    if nats.tls is not None and (nats.tls.cert is None) != (nats.tls.key is None):
        raise ConfigError("nats.tls.cert and nats.tls.key are given one without the other", key="nats.tls.cert")
    for found in (
        None if config.kafka is None else kafka_contradiction(config.kafka),
        None if config.redis is None else redis_contradiction(config.redis),
        None if config.webhook is None else contradiction(config.webhook),
    ):
        if found is not None:
            key, sentence, hint = found
            raise ConfigError(sentence, hint=hint, key=key)
    check_messages_together(config.events)


def _check_group(config: Config) -> None:
    """The events of a group share one subject and one message."""
    events = config.events
    if events.group is None:
        return
    if config.sink in {"file", "webhook"}:
        raise ConfigError(
            "events.group is given for a file, which has each event in a line of its own"
            if config.sink == "file"
            else "events.group is given for a webhook, whose requests have many events each",
            hint="leave events.group out",
            key="events.group",
        )
    if events.topics:
        raise ConfigError(
            "events.group and events.topics exclude each other: a group has events of several tables, and one subject",
            hint="leave events.topics out; events.group.subject names the subject of all groups",
            key="events.topics",
        )
    for table, rules in events.rules.items():
        given = [name for name in ("subject", "headers", "key") if getattr(rules, name)]
        if given:
            path = f"events.tables.{table}.{given[0]}"
            raise ConfigError(
                f"events.group and {path} exclude each other: the events of a group share one subject and its headers",
                hint=f"leave {path} out, or events.group",
                key=path,
            )
