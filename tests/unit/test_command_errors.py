"""What PostgreSQL says when it refuses, as Ditto's errors: whether it is worth another attempt depends on it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from psycopg import OperationalError

from ditto import errors
from ditto.errors import (
    AccessDenied,
    ConfigError,
    ConnectionLost,
    DecodeError,
    DecodingFailed,
    DittoError,
    ServerFault,
    ServerNotReady,
    ServerUnsuitable,
    SlotInUse,
    SlotMissing,
    SourceError,
    TableLocked,
)
from ditto.source.command_errors import Answer, command_error, describe
from ditto.source.connection_errors import connect_error
from ditto.source.handshake import IS_VERBOSE

if TYPE_CHECKING:
    from collections.abc import Iterator

DSN = "postgres://ditto:hunter2@db.example.com:6432/shop"
FAILED = 'connection failed: connection to server at "10.0.0.5", port 6432 failed: '


def refused(words: str) -> DittoError:
    return connect_error(OperationalError(FAILED + words), DSN)


def test_refusals_carry_the_sqlstate() -> None:
    assert IS_VERBOSE


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('FATAL:  28P01: password authentication failed for user "ditto"', AccessDenied),
        ("fe_sendauth: no password supplied", AccessDenied),
        (
            'FATAL:  28000: no pg_hba.conf entry for host "10.0.0.9", user "ditto", database "shop", no encryption',
            AccessDenied,
        ),
        ('FATAL:  28000: role "ditto" does not exist', AccessDenied),
        ('FATAL:  28000: role "ditto" is not permitted to log in', AccessDenied),
        ('FATAL:  3D000: database "shop" does not exist', AccessDenied),
        (
            "FATAL:  42501: permission denied to start WAL sender\n"
            "DETAIL:  Only roles with the REPLICATION attribute may start a WAL sender process.",
            AccessDenied,
        ),
        ("FATAL:  42501: must be superuser or replication role to start walsender", AccessDenied),
        ("FATAL:  53300: sorry, too many clients already", ServerNotReady),
        (
            "FATAL:  53300: remaining connection slots are reserved for roles with the SUPERUSER attribute",
            ServerNotReady,
        ),
        (
            'FATAL:  53300: number of requested standby connections exceeds "max_wal_senders" (currently 10)',
            ServerNotReady,
        ),
        ("server does not support SSL, but SSL was required", ServerUnsuitable),
        ("SSL error: certificate verify failed", AccessDenied),
        ('server certificate for "a" does not match host name "b"', AccessDenied),
        ('root certificate file "/ca.pem" does not exist', AccessDenied),
        ("FATAL:  28000: connection requires a valid client certificate", AccessDenied),
        ("SSL error: tlsv1 alert unknown ca", AccessDenied),
        ('private key file "/k" has group or world access', AccessDenied),
        ('invalid integer value "x" for connection option "keepalives"', ConfigError),
        ("Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?", ConnectionLost),
        ("timeout expired", ConnectionLost),
        ("server closed the connection unexpectedly", ConnectionLost),
        ("FATAL:  28000: pg_hba.conf rejects connection for host", AccessDenied),
        ('FATAL:  42704: unrecognized configuration parameter "x"', ConfigError),
        ("FATAL:  0A000: unsupported frontend protocol", ServerUnsuitable),
        ("FATAL:  08P01: unsupported startup parameter: options", ServerUnsuitable),
        ("session is read-only", ServerNotReady),
        ("server is in hot standby mode", ServerNotReady),
        ('authentication method requirement "!password" failed: server requested a cleartext password', AccessDenied),
    ],
)
def test_a_refused_connection(words: str, kind: type[SourceError]) -> None:
    error = refused(words)
    assert type(error) is kind
    assert error.hint


@pytest.mark.parametrize(
    ("sqlstate", "words"),
    [
        ("57P03", "the database system is starting up"),
        ("57P03", "the database system is not accepting connections"),
        ("57P03", "das Datenbanksystem startet"),
        ("57P01", "terminating connection due to administrator command"),
        ("57P02", "terminating connection because of crash of another server process"),
        ("57P05", "terminating connection due to idle-session timeout"),
        ("57014", "canceling authentication due to timeout"),
        ("53300", 'too many connections for role "ditto"'),
        ("53300", "tut mir leid, schon zu viele Verbindungen"),
        ("53100", "не удалось записать"),
        ("55000", 'database "shop" is not currently accepting connections'),
        ("XX000", "could not open critical system index 2662"),
    ],
)
def test_a_server_that_may_be_ready_later_is_tried_again(sqlstate: str, words: str) -> None:
    error = refused(f"FATAL:  {sqlstate}: {words}\nLOCATION:  somewhere, postmaster.c:1")
    assert type(error) is ServerNotReady
    assert error.is_retryable
    assert error.message.endswith(f"refused the connection: {words}")


@pytest.mark.parametrize(
    ("severity", "sqlstate", "words"),
    [
        ("ВАЖНО", "28P01", "пользователь 'ditto' не прошёл проверку подлинности (по паролю)"),
        ("致命错误", "28P01", "用户 'ditto' Password 认证失败"),
        ("FATAL", "3D000", "Datenbank shop existiert nicht"),
        ("致命的エラー", "28000", "ロール'ditto'は存在しません"),
    ],
)
def test_the_language_of_the_server_does_not_matter(severity: str, sqlstate: str, words: str) -> None:
    error = refused(f"{severity}:  {sqlstate}: {words}")
    assert type(error) is AccessDenied
    assert error.message.endswith(f"refused the connection: {words}")


def test_it_says_where_and_in_the_servers_words_and_never_the_password() -> None:
    error = refused(
        'FATAL:  28P01: password authentication failed for user "ditto"\nLOCATION:  auth_failed, auth.c:337'
    )
    assert error.message == (
        'PostgreSQL at db.example.com:6432/shop refused the connection: password authentication failed for user "ditto"'
    )
    assert "hunter2" not in f"{error.message}{error.hint}{error.context}"


def test_of_several_servers_one_that_may_be_ready_later_decides() -> None:
    wrong = (
        f'{FAILED}FATAL:  28P01: password authentication failed for user "ditto"\nLOCATION:  auth_failed, auth.c:337'
    )
    starting = (
        f"{FAILED}FATAL:  57P03: the database system is starting up\nLOCATION:  ProcessStartupPacket, postmaster.c:1"
    )
    places = [f"- host: '{name}', port: '1', hostaddr: '127.0.0.1': " for name in ("a", "b")]

    def both(first: str, second: str) -> DittoError:
        lines = [
            second,
            "Multiple connection attempts failed. All failures were:",
            places[0] + first,
            places[1] + second,
        ]
        return connect_error(OperationalError("\n".join(lines)), DSN)

    for error in (both(wrong, starting), both(starting, wrong)):
        assert type(error) is ServerNotReady
        assert "starting up" in error.message
        assert "password authentication failed" in error.message
    assert type(both(wrong, wrong)) is AccessDenied


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("08006", ConnectionLost),
        ("22012", ServerFault),
        ("22021", DecodeError),
        ("25006", ServerNotReady),
        ("25P03", ConnectionLost),
        ("25P04", ConnectionLost),
        ("40001", ConnectionLost),
        ("40P01", ConnectionLost),
        ("42501", AccessDenied),
        ("42704", SlotMissing),
        ("42710", ServerNotReady),
        ("53100", ServerNotReady),
        ("53200", ServerNotReady),
        ("53400", ServerUnsuitable),
        ("55000", ServerNotReady),
        ("55006", SlotInUse),
        ("55P03", TableLocked),
        ("57014", ConnectionLost),
        ("57P01", ConnectionLost),
        ("57P02", ConnectionLost),
        ("57P04", ConnectionLost),
        ("57P05", ConnectionLost),
        ("58030", ServerNotReady),
        ("58P01", ServerFault),
        ("XX000", ServerFault),
        (None, ServerFault),
    ],
)
@pytest.mark.parametrize("words", ["der Server mag heute nicht", "invalidated slot wal_level in use"])
def test_a_failed_command_is_told_by_its_state_and_never_by_its_words(
    sqlstate: str | None, kind: type[SourceError], words: str
) -> None:
    error = command_error(Answer(words, sqlstate), doing="start replication", slot="ditto")
    assert type(error) is kind
    assert error.hint
    assert error.context == {"slot": "ditto", **({"sqlstate": sqlstate} if sqlstate else {})}
    if (sqlstate or "").startswith("22"):  # its message may quote a row
        assert words not in error.message
    else:
        assert error.message == f"cannot start replication: {words}"


def test_a_data_exception_shows_no_value() -> None:
    """A row filter of a publication may compute with a column that events mask."""
    answer = Answer('invalid input syntax for type integer: "anna@example.com"', "22P02")
    error = command_error(answer, doing="go on reading the slot", slot="ditto")
    assert error.message == "cannot go on reading the slot: PostgreSQL's error 22P02, invalid text representation"


@pytest.mark.parametrize("function", ["RelidByRelfilenode", "RelidByRelfilenumber"])
def test_a_bug_of_the_servers_is_named_with_the_way_out(function: str) -> None:
    answer = Answer("unexpected duplicate for tablespace 0, relfilenode 16390", "XX000", function)
    error = command_error(answer, doing="go on reading the slot")
    assert type(error) is DecodingFailed
    assert not error.is_retryable
    assert not error.is_retryable_later
    assert "minor release" in (error.hint or "")
    assert "ditto slot drop" in (error.hint or "")


@pytest.mark.parametrize(
    ("dsn", "where"),
    [
        (DSN, "db.example.com:6432/shop"),
        ("host=/run/postgresql dbname=shop password=hunter2", "/run/postgresql:5432/shop"),
        ("postgres://", "localhost:5432"),
        ("hostaddr=10.0.0.5 port=7", "10.0.0.5:7"),
    ],
)
def test_where_a_connection_string_points(dsn: str, where: str) -> None:
    assert describe(dsn) == where


# ------------------------------------------------------------------------------------- the tree of errors


def classes_under(base: type[DittoError]) -> Iterator[type[DittoError]]:
    for each in base.__subclasses__():
        if each.__module__.startswith(errors.__name__):
            yield each
            yield from classes_under(each)


def test_the_documented_tree_is_the_tree() -> None:
    documented = {}
    for line in (inspect.getdoc(errors) or "").splitlines():
        words = line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        if words and inspect.isclass(getattr(errors, words[0], None)):
            documented[words[0]] = "*" in words[1:2]
    actual = {each.__name__: each.is_retryable for each in classes_under(DittoError)}
    assert documented == {"DittoError": False, **actual}


def test_the_exit_code_says_whose_fault_it_is() -> None:
    assert DittoError.exit_code == 1
    assert errors.ConfigError.exit_code == 2
    assert {each.exit_code for each in classes_under(errors.SourceError)} == {3}
    assert {each.exit_code for each in classes_under(errors.SinkError)} == {4}


@pytest.mark.parametrize("beginning", ["no pg_hba.conf entry", "pg_hba.conf rejects connection"])
def test_a_user_that_is_let_in_with_tls_only(beginning: str) -> None:
    words = f'FATAL:  28000: {beginning} for host "10.0.0.9", user "ditto", database "shop", no encryption'
    error = refused(words)
    assert "leave sslmode=disable out of postgres.dsn" in (error.hint or "")
