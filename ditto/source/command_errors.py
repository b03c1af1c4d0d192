"""Failures of commands on a living connection as Ditto's own errors: the one place that tells them apart."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import psycopg
from psycopg import conninfo, errors
from psycopg.pq import DiagnosticField
from psycopg.pq.abc import PGconn, PGresult

from ditto.errors import (
    AccessDenied,
    ConnectionLost,
    DecodeError,
    DecodingFailed,
    ServerFault,
    ServerNotReady,
    ServerUnsuitable,
    SlotInUse,
    SlotMissing,
    SourceError,
    TableLocked,
)
from ditto.hints import GIVE_UP, NOT_UTF8

_ENDED: Final = "the server ended the connection, or was told to cancel what it did; the next session begins anew"
_ELSEWHERE: Final = "the server cannot be written to: it is a standby, or was a primary until now"

# The longest beginning of the SQLSTATE decides: https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES: Final[dict[str, tuple[type[SourceError], str | None]]] = {
    "": (ServerFault, "the server's log tells more"),
    "08": (ConnectionLost, _ENDED),
    "25006": (ServerNotReady, _ELSEWHERE),
    "25P03": (ConnectionLost, _ENDED),
    "25P04": (ConnectionLost, _ENDED),
    # A standby cancels what keeps it from replaying.
    "40": (ConnectionLost, _ENDED),
    "42501": (AccessDenied, "the role lacks a privilege for this: see the message"),
    "42710": (ServerNotReady, "somebody else has created it meanwhile: the next session finds it"),
    "53": (ServerNotReady, "the server lacks a resource at the moment: see its log"),
    "53400": (ServerUnsuitable, "raise max_replication_slots (needs a restart), or drop a slot that nobody uses"),
    # Also of a slot that was invalidated: the next session looks at the slot before it reads.
    "55000": (ServerNotReady, "the next session looks at server and slot anew"),
    "55006": (SlotInUse, "another reader holds the slot; it is taken over when that one stops"),
    "55P03": (TableLocked, "somebody holds a lock on a table, such as ALTER TABLE takes"),
    "57": (ConnectionLost, _ENDED),
    "58030": (ServerNotReady, "the server cannot read or write a file at the moment: see its log"),
}

_ABOUT_VALUES: Final = "22"
"""Data exceptions: their messages quote values. A row filter of a publication, a condition of a snapshot and the input
of a type compute with columns that events leave out or mask."""

_FILE_NUMBERS: Final = frozenset({"RelidByRelfilenode", "RelidByRelfilenumber"})
"""The functions that raise "unexpected duplicate for tablespace …": until 15, and from 16 on."""
_FILE_NUMBERS_HINT: Final = (
    "a bug of PostgreSQL's logical decoding, which takes two tables for one after much DDL. Nothing is lost, the slot "
    "holds the changes: start Ditto again. If it fails in the same way, install the latest minor release (14.20, "
    "15.15, 16.11, 17.7 and 18.1 remove one cause) and start it again. If that does not help, this slot cannot be read "
    f"any more: stop Ditto, and {GIVE_UP}"
)


class Answer(NamedTuple):
    """PostgreSQL's description of an error. The message may be in any language: nothing is decided by it."""

    message: str
    sqlstate: str | None = None
    function: str | None = None
    """Of the server's source code, where the error was raised."""

    @classmethod
    def of(cls, error: psycopg.Error) -> Answer:
        """That of an error of psycopg's."""
        diag = error.diag
        return cls(diag.message_primary or str(error).strip(), error.sqlstate, diag.source_function)

    @classmethod
    def of_result(cls, result: PGresult | None, pgconn: PGconn) -> Answer:
        """That of a result of libpq's; without one, what the connection says."""
        if result is None:
            return cls(pgconn.get_error_message().strip())

        def field(which: DiagnosticField) -> str | None:
            value = result.error_field(which)
            # A message may quote text of a SQL_ASCII database.
            return None if value is None else value.decode(errors="replace")

        message = field(DiagnosticField.MESSAGE_PRIMARY)
        return cls(
            result.get_error_message().strip() if message is None else message,
            field(DiagnosticField.SQLSTATE),
            field(DiagnosticField.SOURCE_FUNCTION),
        )


def command_error(answer: Answer, *, doing: str, **context: str) -> SourceError:
    """Say why a command on a living connection failed; `doing` completes "cannot …"."""
    sqlstate = answer.sqlstate or ""
    if sqlstate:
        context["sqlstate"] = sqlstate
    text = f"cannot {doing}: {words_of(sqlstate) if sqlstate.startswith(_ABOUT_VALUES) else answer.message}"
    # 42704 undefined_object: what is read by its name
    if sqlstate == "42704" and "slot" in context:
        return SlotMissing(text, hint="set postgres.create: true, or create the slot with pgoutput", **context)
    # 22021 character_not_in_repertoire, 22P05 untranslatable_character: the message quotes bytes of the row
    if sqlstate in {"22021", "22P05"}:
        return DecodeError(
            f"cannot {doing}: PostgreSQL found text that it cannot convert to UTF-8, and its log says at which LSN",
            hint=NOT_UTF8,
            **context,
        )
    if answer.function in _FILE_NUMBERS:
        return DecodingFailed(text, hint=_FILE_NUMBERS_HINT, **context)
    kind, hint = _STATES[max((state for state in _STATES if sqlstate.startswith(state)), key=len)]
    return kind(text, hint=hint, **context)


def words_of(sqlstate: str) -> str:
    """In place of a message that may quote values: `PostgreSQL's error 22P02, invalid text representation`."""
    try:
        name = errors.lookup(sqlstate).__name__
    except KeyError:
        return f"PostgreSQL's error {sqlstate}, which Ditto does not know"
    return f"PostgreSQL's error {sqlstate}, {re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', name).lower()}"


def describe(dsn: str) -> str:
    """`host:port/database` for messages, without user and password."""
    given = conninfo.conninfo_to_dict(dsn)
    host = given.get("host") or given.get("hostaddr")
    if not host and given.get("service"):
        return f"service {given['service']}"
    host = host or "localhost"
    port = given.get("port") or "5432"
    database = given.get("dbname")
    return f"{host}:{port}" + (f"/{database}" if database else "")
