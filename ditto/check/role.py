"""The rights of the role: to connect, to replicate, to create the publication."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct

from ditto.check.finding import Finding, bad, ok
from ditto.config import Config
from ditto.errors import AccessDenied, DittoError
from ditto.hints import identifier
from ditto.pipeline.start_position import Timelines
from ditto.source.published_tables import Table
from ditto.source.replication import Replication, System
from ditto.source.sql import Control

_INSUFFICIENT_PRIVILEGE = "42501"
_REPLICATION_WHY = "the changes come over a replication connection"


class Identity(Struct, frozen=True, kw_only=True):
    """What the server gives only over a replication connection."""

    system: System
    timelines: Timelines


async def check_replication(config: Config, role: str) -> tuple[Finding, Identity | None]:
    """Open a replication connection and close it again: the only proof that role, pg_hba.conf and server allow it."""
    source = Replication(config.postgres.dsn, clock=time.monotonic, max_events=1, max_bytes=1)
    try:
        await source.connect()
        system = await source.identify()
        timelines = Timelines(system.timeline, await source.switch_lsns(system.timeline))
    except AccessDenied as error:
        # A provider without superusers for its customers has a role of its own in place of the attribute.
        name = identifier(role)
        statement = f"ALTER ROLE {name} REPLICATION; -- on Amazon RDS: GRANT rds_replication TO {name};"
        return bad(
            "error",
            "role.replication",
            error.message,
            f"{_REPLICATION_WHY}; {error.hint or 'this one is refused'}",
            psql=statement if error.context.get("sqlstate") == _INSUFFICIENT_PRIVILEGE else None,
        ), None
    except DittoError as error:
        return bad("error", "role.replication", error.message, error.hint or _REPLICATION_WHY), None
    finally:
        await source.close()
    identity = Identity(system=system, timelines=timelines)
    return ok("role.replication", f"{role} may replicate", _REPLICATION_WHY), identity


async def check_may_create(
    control: Control, publication: str, role: str, tables: Sequence[Table] | None, *, statement: str
) -> Finding | None:
    """Whether the role may create the publication for these tables, or for all; None where it may.

    `statement` is what creates it.
    """
    (row,) = await control.fetch(
        "SELECT r.rolsuper AS is_superuser, "
        "pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS may_create, "
        "pg_catalog.current_database() AS database FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user",
        doing="read the role's privileges",
    )
    if row["is_superuser"]:
        return None
    if tables is None:
        missing = "that takes a superuser"
    elif not row["may_create"]:
        missing = f"it lacks CREATE on the database {row['database']}"
    else:
        rows = await control.fetch(
            "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class AS c "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') "
            "AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')",
            doing="see who owns the tables",
        )
        foreign = {(each["schema"], each["name"]) for each in rows} & set(tables)
        if not foreign:
            return None
        missing = f"it does not own {', '.join(sorted('.'.join(table) for table in foreign)[:5])}"
    return bad(
        "error",
        "role.create_publication",
        f"publication {publication} does not exist, and {role} may not create it: {missing}",
        "without the publication PostgreSQL sends nothing",
        psql=statement,
    )
