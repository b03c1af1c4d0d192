"""Making one connection: its refusal carries the SQLSTATE, and it is complete with the pinned settings.

libpq has no result to hang a refused connection's SQLSTATE on, and a server words its messages in its own language.
With verbose errors libpq puts the SQLSTATE into the text, before the message:
https://www.postgresql.org/docs/current/libpq-control.html#LIBPQ-PQSETERRORVERBOSITY. psycopg does not offer that, so
its step of making one connection (`_connect_gen`) is replaced; trying each address, time limits and waiting stay its
own.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Final, Self

from psycopg import AsyncConnection, OperationalError, pq
from psycopg.abc import PQGenConn
from psycopg.pq.abc import PGconn
from psycopg.rows import Row
from psycopg.waiting import Wait

from ditto.source.session_settings import check_pinned, later

_DEFAULT: Final = 1
_VERBOSE: Final = 2


class PinnedAsyncConnection(AsyncConnection[Row]):
    """For an event loop."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        return cls((yield from _connect(conninfo)))


def _connect(conninfo: str) -> PQGenConn[PGconn]:
    """As psycopg's own generator; and verbose, and with the pins complete."""
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    _set_verbosity(pgconn, _VERBOSE)
    try:
        while True:
            if pgconn.status == pq.ConnStatus.BAD:
                raise OperationalError(f"connection is bad: {pgconn.get_error_message()}")
            status = pgconn.connect_poll()
            if status == pq.PollingStatus.OK:
                break
            if status == pq.PollingStatus.FAILED:
                raise OperationalError(f"connection failed: {pgconn.get_error_message()}")
            wait = Wait.R if status == pq.PollingStatus.READING else Wait.W
            while not (yield pgconn.socket, wait):
                pass
        pgconn.nonblocking = 1
        yield from _complete(pgconn)
    except BaseException:
        pgconn.finish()
        raise
    _set_verbosity(pgconn, _DEFAULT)
    return pgconn


def _complete(pgconn: PGconn) -> PQGenConn[None]:
    """Here, and not by a query of psycopg: the time limit of connecting holds, and nobody has to cancel a query."""
    pgconn.send_query(later(pgconn))
    while pgconn.flush():
        yield pgconn.socket, Wait.W
    search_path = None
    while True:
        pgconn.consume_input()
        while pgconn.is_busy():
            yield pgconn.socket, Wait.R
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            break
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise OperationalError(f"connection failed: {result.get_error_message()}")
        search_path = result.get_value(0, 0)
    check_pinned(search_path)


def is_encrypted(pgconn: Any) -> bool:
    """Whether TLS or GSSAPI encrypts the connection, as far as can be told: what it has read may be more than it gave.

    psycopg only says whether GSSAPI proved who the client is, and that with libpq 16 and later.
    """
    return bool(pgconn.ssl_in_use or _is_gss_encrypted is None or _is_gss_encrypted(pgconn.pgconn_ptr))


def _find_function(name: str, *arguments: Any) -> Any:
    """The function of libpq, from the library that psycopg itself has loaded; None where it cannot be found."""
    module = sys.modules[pq.PGconn.__module__]
    try:
        library = module.impl.pq if pq.__impl__ == "python" else ctypes.CDLL(module.__file__)
        function = getattr(library, name)
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_void_p, *arguments]
    function.restype = ctypes.c_int
    return function


_function: Final = _find_function("PQsetErrorVerbosity", ctypes.c_int)
_is_gss_encrypted: Final = _find_function("PQgssEncInUse")
IS_VERBOSE: Final = _function is not None
"""Whether refusals carry the SQLSTATE."""


def _set_verbosity(pgconn: Any, verbosity: int) -> None:
    if _function is not None and pgconn.pgconn_ptr:
        _function(pgconn.pgconn_ptr, verbosity)
