"""Whether commits wait for Ditto without being meant to."""

from __future__ import annotations

from typing import Final

from psycopg.sql import Identifier

from ditto.check.finding import Finding, bad, named, ok
from ditto.hints import literal
from ditto.source.sql import Control
from ditto.source.synchronous_commit import StandbyNames, parse_names

CHECK: Final = "server.synchronous_standby_names"


async def check_synchronous(control: Control) -> Finding:
    """Whether `synchronous_standby_names` takes Ditto in by a `*`; the fix names the others instead."""
    (row,) = await control.fetch(
        "SELECT pg_catalog.current_setting('synchronous_standby_names') AS setting, "
        "pg_catalog.current_setting('application_name') AS application, "
        # Without the readers of logical slots: Ditto, others like it, and subscriptions.
        "ARRAY(SELECT r.application_name FROM pg_catalog.pg_stat_replication AS r WHERE NOT EXISTS ("
        "  SELECT FROM pg_catalog.pg_replication_slots AS s WHERE s.active_pid = r.pid AND s.slot_type = 'logical') "
        "ORDER BY r.pid) AS others",
        doing="see whether commits wait for Ditto",
    )
    return synchronous_finding(row["setting"], row["application"], row["others"])


def synchronous_finding(setting: str, application: str, others: list[str | None]) -> Finding:
    """The same of what is known; `others` are the application names of physical standbys, None where hidden. Pure."""
    names = parse_names(setting)
    why = (
        "a commit that waits for Ditto waits for NATS too; and a standby that is promoted may lack what only Ditto had "
        "confirmed"
    )
    if not names.names:
        return ok(CHECK, "synchronous_standby_names is empty: no commit waits for Ditto", why)
    if names.asks_for(application):
        what = f"synchronous_standby_names names {application}: commits wait until their events are stored"
        return ok(CHECK, what, why)
    if not names.takes_all:
        return ok(CHECK, f"synchronous_standby_names ({setting}) does not name Ditto", why)
    what = f"synchronous_standby_names is {setting}: it takes in every reader of WAL, Ditto as well"
    if None in others:
        return bad("warning", CHECK, what, f"{why}. Name the standbys that commits are to wait for, in place of *")
    standbys = [name for name in names.names if name != "*"]
    standbys += [name for name in dict.fromkeys(filter(None, others)) if name.lower() not in map(str.lower, standbys)]
    if not standbys:
        what += "; no other standby is connected"
        return bad("warning", CHECK, what, why, psql=_statement(""))
    what += f"; the standbys are {named(standbys)}"
    return bad("warning", CHECK, what, why, psql=_statement(_written(names, standbys)))


def _written(names: StandbyNames, standbys: list[str]) -> str:
    listed = ", ".join(Identifier(name).as_string() for name in standbys)
    return f"{names.method or 'FIRST'} {min(names.count, len(standbys))} ({listed})"


def _statement(setting: str) -> str:
    return f"ALTER SYSTEM SET synchronous_standby_names = {literal(setting)};\nSELECT pg_catalog.pg_reload_conf();"
