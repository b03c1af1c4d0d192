"""How to read from a kind of connection. Reading is mostly the cost of waking up: a packet a message."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final, NamedTuple

from psycopg.pq.abc import PGconn

PAUSE_AFTER_MESSAGES: Final = 32


class Pace(NamedTuple):
    """A wake-up reads until less than `enough` messages come at once. After one that found `PAUSE_AFTER_MESSAGES` it
    waits, so that more gather; below a millisecond the event loop's own timers do not go.
    """

    enough: int
    pause_s: float


# Figures: transactions of 100 rows of trades, stored in JetStream, ÷ pg_recvlogical; docs/performance.md.
# Over TCP the kernel keeps megabytes: a tenth more in large transactions.
_TCP: Final = Pace(1, 0.001)
# A socket's buffer holds 280 small messages, and stalls the sender when it is full: 0.46 became 0.53 with this pause,
# 0.47 with 0.6 ms, 0.40 with 0.8. To go on where a read brings a few is to chase the sender message by message.
_UNIX: Final = Pace(32, 0.0004)
# A read brings one record, which is one message; stopping after eight reads halved the rate.
_TLS: Final = Pace(1, 0.0)

# Where events go in groups, or to a file, the sink costs little, and the walsender is the slowest: it hands each
# message to the kernel, which makes a packet of it, and wakes the reader. Where the receiver's window is full,
# messages gather in the sender's buffer, and leave in packets of 64 KB: 2.3 µs of CPU an event in place of 3.5 to 5,
# and twice as many events a second. In 2 ms a window of 32 to 90 KB gets full, one of 130 KB does not; 32 KB are too
# few for rows of 2 KB.
_TCP_GATHERING: Final = Pace(1, 0.002)
_WINDOW_BYTES: Final = 64 << 10
_SHORT_TRIP_US: Final = 250
"""With a longer round trip such a window would be the limit."""
_TRIP: Final = struct.Struct("=148xI")
"""In Linux's `struct tcp_info`: `tcpi_min_rtt`, in µs: others count how long the server thought."""


def pace_of(pgconn: PGconn, *, gathers: bool) -> Pace:
    """The pace for this connection; with `gathers` for a sink to which large blocks are cheap."""
    if pgconn.ssl_in_use:
        return _TLS
    if pgconn.host.startswith(b"/"):
        return _UNIX
    return _TCP_GATHERING if gathers and _has_narrowed(pgconn.socket) else _TCP


def _has_narrowed(descriptor: int) -> bool:
    """Whether the window is small now; not where the round trip is long or unknown."""
    if sys.platform != "linux":
        return False
    with socket.socket(fileno=os.dup(descriptor)) as duplicate:
        try:
            (trip_us,) = _TRIP.unpack(duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TRIP.size))
            if trip_us > _SHORT_TRIP_US:
                return False
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW_BYTES)
        except (OSError, struct.error):
            return False
    return True
