"""What the kernel watches on the sockets of a running Ditto."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from e2e.world import World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="takes the sockets of another process (pidfd)")
SYS_PIDFD_GETFD = 438  # the same number on every architecture


def options(pid: int, descriptor: int) -> dict[str, int]:
    """The options of a socket of another process, from a duplicate of its descriptor."""
    import ctypes  # noqa: PLC0415  absent elsewhere

    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.pidfd_open(pid)
    try:
        copy = libc.syscall(SYS_PIDFD_GETFD, handle, descriptor, 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
    finally:
        os.close(handle)
    with closing(socket.socket(fileno=copy)) as connection:
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        found = {name: connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}
        return found | {"SO_KEEPALIVE": connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)}


async def test_every_connection_finds_out_about_a_dead_peer(world: World) -> None:
    ditto = await world.streaming()
    connections = [each for each in psutil.Process(ditto.pid).net_connections("tcp") if each.raddr]
    ports = sorted(each.raddr.port for each in connections)
    assert ports == sorted([world.postgres.port, world.postgres.port, world.nats_server.port])
    for each in connections:
        assert options(ditto.pid, each.fd) == {
            "SO_KEEPALIVE": 1,
            "TCP_KEEPIDLE": 10,
            "TCP_KEEPINTVL": 5,
            "TCP_KEEPCNT": 3,
            "TCP_USER_TIMEOUT": 20_000,
        }
