"""What a snapshot needs: rights and keys of its tables, markers, a slot for tables without a key; how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ditto.check.finding import Finding, bad, each, failed, named, ok
from ditto.check.postgres import Server
from ditto.config import Config
from ditto.errors import DittoError
from ditto.hints import identifier, literal
from ditto.routing.snapshot_selection import Selection
from ditto.source.blockers import Blocker, writers_before
from ditto.source.published_tables import Publication, Tables
from ditto.source.snapshot_look import Looked, look
from ditto.source.snapshot_requests import emit_function
from ditto.source.sql import Control
from ditto.units import counted, size, span

_SHOWN: Final = 20
_OLD_S: Final = 60.0
_ROWS_PER_S: Final = 50_000
_BYTES_PER_S: Final = 20 << 20
"""What a small machine reads and stores in JetStream. A larger one does several times as much."""


def is_wanted(config: Config) -> bool:
    """Whether the configuration asks for snapshots: one of everything, of some tables, or after a gap."""
    wanted = config.snapshot
    return wanted.mode == "initial" or wanted.tables is not None or config.delivery.on_gap == "snapshot"


async def check_snapshot(
    control: Control, config: Config, server: Server, publication: Publication, tables: Tables, *, has_slot: bool
) -> list[Finding]:
    """Look at everything that the snapshots of the configuration need; nothing is read and nothing is locked."""
    if not is_wanted(config):
        return []
    try:
        selection = Selection(config.events, publication, tables)
        chosen = selection.read_by(selection.names(config.snapshot.tables or ()))
    except DittoError as error:
        return [failed("snapshot.tables", error)]
    looked = await look(control, chosen)
    role = identifier(server.role)
    keyless = [one for one in looked if not one.has_key]
    found = [
        *rights(looked, server.role),
        await _markers(control, server, role),
        _keys(looked, keyless),
        *_places(server, keyless, has_slot=has_slot),
        *await each("snapshot.transactions", _transactions(control)),
    ]
    return [*found, duration(looked, config.snapshot.max_rows_per_s)]


def rights(looked: Sequence[Looked], role_name: str) -> list[Finding]:
    """What the role may not read; a finding that all is well where there is nothing. Pure."""
    role = identifier(role_name)
    check, why = "snapshot.tables", "a snapshot reads the tables themselves; one that it may not read fails, alone"
    closed = [one for one in looked if not one.is_open]
    secured = [one for one in looked if one not in closed and one.has_row_security]
    found = []
    if closed:
        schemas = dict.fromkeys(one.schema for one in closed if not one.may_use_schema)
        statements = [f"GRANT USAGE ON SCHEMA {identifier(schema)} TO {role};" for schema in schemas]
        statements += [f"GRANT SELECT ON {identifier(*one.table)} TO {role};" for one in closed if not one.may_select]
        what = f"{role_name} may not read {named([one.text for one in closed])}"
        found.append(bad("error", check, what, why, psql="\n".join(statements[:_SHOWN])))
    if secured:
        what = f"row-level security would hide rows from {role_name}: {named([one.text for one in secured])}"
        found.append(bad("error", check, what, why, psql=f"ALTER ROLE {role} BYPASSRLS;"))
    return found or [ok(check, f"{role_name} may read the {counted(len(looked), 'table')} of a snapshot", why)]


async def _markers(control: Control, server: Server, role: str) -> Finding:
    check, why = "snapshot.markers", "each chunk of rows gets its place among the changes by a marker in the WAL"
    if server.is_standby:
        return bad(
            "error",
            check,
            "this server is a standby, and writes no markers",
            why,
            configuration="postgres: {dsn: ADDRESS_OF_THE_PRIMARY}",
        )
    function = emit_function(server.version)
    (row,) = await control.fetch(
        f"SELECT pg_catalog.has_function_privilege({literal(function)}, 'EXECUTE') AS may",
        doing="read the role's privileges",
    )
    if row["may"]:
        return ok(check, f"{server.role} may write markers", why)
    return bad(
        "error",
        check,
        f"{server.role} may not write markers",
        why,
        psql=f"GRANT EXECUTE ON FUNCTION {function} TO {role};",
    )


def _keys(looked: list[Looked], keyless: list[Looked]) -> Finding:
    check = "snapshot.keys"
    why = (
        "with a key a table is read in chunks beside the live stream; without one it is read in one go, while the live "
        "stream waits, and a restart begins it anew"
    )
    if not keyless:
        return ok(check, f"with a usable key: {counted(len(looked), 'table')}, all of a snapshot", why)
    wait = span(max(1.0, sum(_seconds(one) for one in keyless)))
    what = f"tables without a usable key: {named([one.text for one in keyless])}; the stream waits for about {wait}"
    return bad("warning", check, what, f"{why}: a primary key avoids that")


def _places(server: Server, keyless: list[Looked], *, has_slot: bool) -> list[Finding]:
    if not keyless:
        return []
    return [
        _place(server, "slot", "max_replication_slots", server.slots_used + (not has_slot)),
        _place(server, "walsender", "max_wal_senders", server.walsenders_used + (not has_slot)),
    ]


def _place(server: Server, kind: str, setting: str, used: int) -> Finding:
    check, most = f"snapshot.{kind}s", server.number(setting)
    why = "a table without a usable key is read under the snapshot of a temporary slot"
    what = f"a snapshot needs one more {kind}, and {max(0, most - used)} of {most} are free ({setting})"
    if used < most:
        return ok(check, what, why)
    return bad(
        "error", check, what, why, psql=f"ALTER SYSTEM SET {setting} = {max(10, 2 * most)}; -- then restart PostgreSQL"
    )


async def _transactions(control: Control) -> Finding:
    return transactions_finding(await writers_before(control))


def transactions_finding(open_now: list[Blocker]) -> Finding:
    """The finding for the transactions that have written and are open, or prepared. Pure."""
    check = "snapshot.transactions"
    why = "before its first row a snapshot waits until the transactions that had written when it began have ended"
    old = [one for one in open_now if one.pid is None or (one.age_s or 0) >= _OLD_S]
    if not old:
        return ok(check, "no transaction that has written is old, and none is prepared", why)
    return bad(
        "warning", check, f"a snapshot that begins now waits for {named([one.text for one in old], limit=3)}", why
    )


def duration(looked: list[Looked], max_rows_per_s: int) -> Finding:
    """How long a snapshot of these tables may take. Pure."""
    rows, total = sum(one.rows for one in looked), sum(one.bytes for one in looked)
    seconds = sum(_seconds(one) for one in looked)
    limit = ""
    if max_rows_per_s and rows / max_rows_per_s > seconds:
        seconds, limit = rows / max_rows_per_s, f" at {max_rows_per_s:,} rows a second (snapshot.max_rows_per_s)"
    what = f"a snapshot has about {counted(round(rows), 'row')} ({size(total)}), and may take {span(max(1.0, seconds))}"
    why = (
        f"an estimate from the planner's figures, {_ROWS_PER_S:,} rows or {size(_BYTES_PER_S)} a second; live events "
        "come in between, and wait for milliseconds"
    )
    return ok("snapshot.duration", what + limit, why)


def _seconds(looked: Looked) -> float:
    return max(looked.rows / _ROWS_PER_S, looked.bytes / _BYTES_PER_S)
