"""Impossible values: what has the right type and still cannot be."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ditto.config.dsn import parameters_of, without_replication
from ditto.config.durations import check_not_negative
from ditto.config.fleet_values import CHECKS as FLEET_CHECKS
from ditto.config.impossible import Impossible
from ditto.config.kafka import KAFKA_CHECKS
from ditto.config.listen import check_listen, check_token
from ditto.config.message_rules import (
    check_column,
    check_messages,
    check_outbox_former,
    check_outbox_subject,
    check_table,
)
from ditto.config.nats import NATS_CHECKS
from ditto.config.rabbitmq import RABBITMQ_CHECKS
from ditto.config.redis import REDIS_CHECKS
from ditto.config.subjects import check_group_subject, check_prefix, check_subject, check_topics
from ditto.config.table_rules import REGEX, check_entry
from ditto.config.webhook import WEBHOOK_CHECKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TEXTS: Mapping[str, str] = MappingProxyType(
    {"name": r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "postgres.slot": r"[a-z0-9_]{1,63}"}
)
"""By key: the pattern that the whole text has to match."""

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
        raise Impossible("must be 1 to 63 letters, digits, and the signs . _ -, the first a letter or a digit")
    return value


def _slot(value: str) -> str:
    if not re.fullmatch(TEXTS["postgres.slot"], value):
        raise Impossible("must be 1 to 63 lower-case letters, digits and underscores, as PostgreSQL demands of a slot")
    return value


def _publication(value: str) -> str:
    if not 0 < len(value.encode()) <= _NAME_BYTES or "\0" in value:
        raise Impossible(f"must be 1 to {_NAME_BYTES} bytes long")
    return value


def _path(value: str) -> str:
    if not value or "\0" in value:
        raise Impossible('must be the path of a file, or "-" for standard output')
    return value


def _lease_ttl(value: float) -> float:
    if value != 0 and value < 1:
        raise Impossible("must be 0 (no lease) or at least one second")
    return value


def _tables(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    if not value:
        raise Impossible("must name a table: as it is, nothing would pass", hint="leave the key out to pass everything")
    for table, entry in value.items():
        check_entry(table, entry)
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
        **FLEET_CHECKS,
        "name": _name,
        "postgres.dsn": _dsn,
        "postgres.slot": _slot,
        "postgres.publication": _publication,
        **NATS_CHECKS,
        **KAFKA_CHECKS,
        **RABBITMQ_CHECKS,
        **REDIS_CHECKS,
        **WEBHOOK_CHECKS,
        "file.path": _path,
        "delivery.confirm_delay": check_not_negative,
        "delivery.lease_ttl": _lease_ttl,
        "events.prefix": check_prefix,
        "events.subject": check_subject,
        "events.group.subject": check_group_subject,
        "events.tables": _tables,
        "events.topics": check_topics,
        "events.messages": check_messages,
        "events.outbox.table": check_table,
        "events.outbox.subject": check_outbox_subject,
        "events.outbox.payload": check_column,
        "events.outbox.id": check_column,
        "events.outbox.key": check_column,
        "events.outbox.headers": check_column,
        "events.outbox.former": check_outbox_former,
        "snapshot.tables": _snapshot_tables,
        "http.listen": check_listen,
        "http.token": check_token,
    }
)
"""By key: takes the value, returns it (put in order where there are several notations) or raises Impossible."""
