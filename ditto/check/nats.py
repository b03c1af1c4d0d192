"""The NATS server and the account: version, JetStream, room for more, and when files are synchronised."""

from __future__ import annotations

import asyncio
import http.client
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from ditto.check.finding import Finding, bad, failed, ok
from ditto.config import Delivery, Nats
from ditto.errors import DittoError
from ditto.monitoring.http_client import fetch
from ditto.sinks.jetstream.api_answers import Account
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.servers import OLDEST_VERSION
from ditto.sinks.jetstream.stream import Stream
from ditto.units import size, span

_NEARLY: Final = 0.8
_MONITOR_PORT: Final = 8222
_MONITOR_TIMEOUT_S: Final = 2.0
_MONITOR_BYTES: Final = 1 << 20
_DEFAULT_SYNC_S: Final = 120.0
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class _Settings(Struct):
    """The fields that the checks read of JetStream's settings."""

    sync_always: bool = False
    sync_interval: float | str = 0


class _JetStream(Struct):
    config: _Settings | None = None


class _Varz(Struct):
    """The fields that the checks read of the monitoring endpoint's /varz."""

    jetstream: _JetStream | None = None


def check_credentials(connection: Connection) -> Finding:
    """Whether a machine between Ditto and NATS could read the password or the token."""
    check, why = "nats.credentials", "a reader on the way could write into the stream in Ditto's place"
    if not connection.has_sent_secret:
        return ok(check, "no password and no token goes to another machine in plain text", why)
    what = "a password or a token goes to another machine in plain text (nats.allow_plaintext_credentials)"
    block = 'tls { cert_file: "/etc/nats/tls.crt", key_file: "/etc/nats/tls.key" }   # then remove that setting'
    return bad("warning", check, what, why, nats_server=block)


async def check_nats(client: Connection, config: Nats, stream: Stream) -> list[Finding]:
    """Version, JetStream and the account's limits."""
    wanted = ".".join(map(str, OLDEST_VERSION))
    why = f"nats-server {wanted} is the first with the batches by which nothing can be lost in the middle"
    release = client.server.release
    what = f"nats-server {'.'.join(map(str, release))}"
    if release[:2] < OLDEST_VERSION:
        version = bad("error", "nats.version", f"{what} is too old", why)
    else:
        version = ok("nats.version", what, why)
    check, why = "nats.jetstream", "events are stored in a JetStream stream"
    if config.domain is None and not client.server.has_jetstream:
        what = "nats-server runs without JetStream"
        block = 'jetstream { store_dir: "/var/lib/nats" }   # then restart nats-server'
        return [version, bad("error", check, what, why, nats_server=block)]
    try:
        account = await stream.api.account("use JetStream")
    except DittoError as error:
        return [version, failed(check, error)]
    return [version, ok(check, "JetStream is enabled", why), *_account(account)]


def _account(account: Account) -> list[Finding]:
    most = -1 if account.limits is None else account.limits.max_storage
    check, why = "nats.storage", "when the account's storage is full, nothing more is stored"
    used = account.storage
    if most <= 0:
        return [ok(check, f"the account uses {size(used)} of storage, without limit", why)]
    what = f"the account uses {size(used)} of {size(most)} of storage"
    if used < _NEARLY * most:
        return [ok(check, what, why)]
    block = (
        f"accounts: {{ ACCOUNT: {{ jetstream: {{ max_file: {2 * most} }} }} }}   # then: nats-server --signal reload"
    )
    return [
        bad("warning", check, what, f"{why}; make room for more in the account, or in its streams", nats_server=block)
    ]


async def check_sync(delivery: Delivery, replicas: int, monitor_url: str | None) -> Finding:
    """When nats-server flushes acknowledged messages to the disk."""
    check = "nats.sync_interval"
    why = (
        "nats-server acknowledges before its file is synchronised: when its machine loses power, a stream with one "
        "replica loses the end, which PostgreSQL has given up by then unless delivery.confirm_delay is longer"
    )
    seen = None if monitor_url is None else await asyncio.to_thread(_monitored, monitor_url)
    what = "sync_interval cannot be seen (no monitoring endpoint; ditto check --nats-monitor URL)"
    interval_s = _DEFAULT_SYNC_S
    if seen is not None:
        interval_s = 0.0 if seen.sync_always else _seconds(seen.sync_interval) or _DEFAULT_SYNC_S
        what = f"sync_interval is {span(interval_s)}" if interval_s else "sync_interval is always"
    what += f"; the stream has {replicas} replica{'s' if replicas > 1 else ''}"
    if replicas > 1 or not interval_s or delivery.confirm_delay_s > interval_s:
        return ok(check, what, why)
    delay_s = round(interval_s * 1.25)
    return bad("warning", check, what, why, configuration=f"delivery: {{confirm_delay: {delay_s}s}}")


def monitor_of(config: Nats) -> str:
    """The usual address of a server's monitoring endpoint."""
    server = config.servers[0]
    host = urlsplit(server if "://" in server else f"nats://{server}").hostname or "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{_MONITOR_PORT}"


def _monitored(url: str) -> _Settings | None:
    """JetStream's settings from the monitoring endpoint; None where that gives none."""
    try:
        answer = fetch(f"{url.rstrip('/')}/varz", timeout_s=_MONITOR_TIMEOUT_S, max_bytes=_MONITOR_BYTES)
        varz = msgspec.json.decode(answer.body, type=_Varz)
    except (OSError, ValueError, http.client.HTTPException, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return None if varz.jetstream is None else varz.jetstream.config


def _seconds(value: float | str) -> float:
    """Nanoseconds, or the notation of Go (`2m0s`)."""
    if isinstance(value, int | float):
        return value / 1e9
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|us|µs|ns|s)", value)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
