"""librdkafka's settings, and the first connection. Everything here may block."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import struct
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from ditto import __version__
from ditto.errors import ConfigError, LoginDenied, SinkError, SinkLost
from ditto.sinks.kafka.client_errors import error_of, translate
from ditto.sinks.tls import check_readable
from ditto.sinks.tls_mismatch import Port, Speech, tls_mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka.admin import ClusterMetadata

    from ditto.config import Kafka, KafkaTls
    from ditto.sinks.kafka.access import Access

T = TypeVar("T")

_LEAST_TIMEOUT_S: Final = 5.0
"""Of what happens while a session begins, or a topic is created."""
_LONGEST_LOOK_S: Final = 0.5
_PORT: Final = 9092
_TLS_LOOK_S: Final = 1.0
"""After so much time without an answer it is looked whether TLS is what does not fit."""
_API_VERSIONS: Final = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_SPEECH: Final = Speech(_API_VERSIONS, re.compile(rb"....\x00\x00\x00\x01", re.DOTALL))
_REASONS: Final = (
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._RESOLVE,
    KafkaError._TRANSPORT,
)
"""Of several errors the one that says most comes first."""
_SILENT_LOGGER: Final = logging.getLogger("ditto.librdkafka")
"""Takes the lines that librdkafka would write to standard error even at `log_level: 0`: errors say the same."""
_SILENT_LOGGER.addHandler(logging.NullHandler())
_SILENT_LOGGER.propagate = False
_SILENT: Final = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT})


def settings(config: Kafka) -> dict[str, Any]:
    """For every client: brokers, TLS, SASL and the options. Raises ConfigError and LoginDenied."""
    given: dict[str, Any] = {
        "client.id": f"ditto-{__version__}",
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 1000,
        "allow.auto.create.topics": False,
        "log_level": 0,
        **config.options,
        "bootstrap.servers": ",".join(config.servers),
        "security.protocol": ("sasl_" if config.user is not None else "")
        + ("ssl" if config.tls is not None else "plaintext"),
    }
    if config.user is not None:
        _check_plaintext(config)
        given |= {
            "sasl.mechanism": config.mechanism.upper(),
            "sasl.username": config.user,
            "sasl.password": config.password,
        }
    if config.tls is not None:
        given |= _tls(config.tls)
    return given


def _tls(tls: KafkaTls) -> dict[str, str]:
    check_readable(tls, "kafka.tls")
    given = {"ssl.ca.location": tls.ca, "ssl.certificate.location": tls.cert, "ssl.key.location": tls.key}
    return {name: path for name, path in given.items() if path is not None}


def _protocol_hint(config: Kafka) -> str:
    """A broker that is spoken to by another protocol than its listener's hangs up, or says nothing."""
    hints = ["check kafka.brokers and the network"]
    if config.tls is None:
        hints.append("a listener that does TLS needs kafka.tls (tls: {} for the system's authorities)")
    else:
        hints.append("with kafka.tls the listener has to do TLS")
    if config.user is None:
        hints.append("one that asks for a user needs kafka.user, kafka.password and kafka.mechanism")
    else:
        hints.append("with kafka.user it has to do SASL")
    return "; ".join(hints)


def _check_plaintext(config: Kafka) -> None:
    if config.mechanism != "plain" or config.tls is not None or config.allow_plaintext_credentials:
        return
    for server in config.servers:
        if not _is_local(server.rpartition(":")[0] or server):
            raise LoginDenied(
                f"{server} is on another machine and has no TLS: Ditto does not show it the password",
                hint="use kafka.tls, or kafka.mechanism: scram-sha-512, which does not send the password; or allow it "
                "with kafka.allow_plaintext_credentials: true, on a network that nobody else can read",
            )


def _is_local(host: str) -> bool:
    try:
        given = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost"
    return (getattr(given, "ipv4_mapped", None) or given).is_loopback


class Seen:
    """What a client has said about its connections, of each kind of error the last one."""

    def __init__(self) -> None:
        self._errors: dict[int, KafkaError] = {}

    def take(self, error: KafkaError) -> None:
        """Librdkafka's `error_cb`."""
        self._errors[error.code()] = error

    @property
    def reason(self) -> KafkaError | None:
        """The one that says why no broker answers; None while one may still."""
        if KafkaError._ALL_BROKERS_DOWN not in self._errors and KafkaError._AUTHENTICATION not in self._errors:
            return None
        return next((self._errors[code] for code in _REASONS if code in self._errors), None)

    @property
    def any_reason(self) -> KafkaError | None:
        """The one that says most."""
        return next((self._errors[code] for code in _REASONS if code in self._errors), None)

    def clear(self) -> None:
        """Forget them."""
        self._errors.clear()


def make(kind: Callable[[dict[str, Any]], T], given: dict[str, Any]) -> T:
    """A client. Raises ConfigError where librdkafka does not know an option, or cannot read a file of TLS."""
    try:
        return kind({**given, "logger": _SILENT_LOGGER})
    except KafkaException as exception:
        error = error_of(exception)
        is_tls = "ssl." in error.str() or "certificate" in error.str()
        raise ConfigError(
            f"librdkafka does not take the configuration: {error.str()}",
            hint="check kafka.tls: files in PEM format, the key without a password"
            if is_tls
            else "check kafka.options",
            key="kafka.tls" if is_tls else "kafka.options",
        ) from None


def request_timeout_s(config: Kafka) -> float:
    """How long a request may take that stores no events."""
    return max(config.ack_timeout_s, _LEAST_TIMEOUT_S)


class Admin:
    """The connection by which topics are looked at and created."""

    def __init__(self, config: Kafka, access: Access) -> None:
        self.access = access
        self._config = config
        self._where = ", ".join(config.servers)
        self._protocol = settings(config)["security.protocol"].upper()
        self._protocol_hint = _protocol_hint(config)
        self._seen = Seen()
        self.is_given_up = False
        """Nobody waits for an answer any more."""
        self.timeout_s = request_timeout_s(config)
        self.client: AdminClient = make(AdminClient, {**settings(config), "error_cb": self._seen.take})

    def metadata(self, doing: str = "connect") -> ClusterMetadata:
        """All topics and brokers. Raises SinkError as soon as no broker can be reached."""
        began_at = time.monotonic()
        deadline = began_at + self.timeout_s
        pause_s, is_tls_unknown = 0.1, doing == "connect"
        self._seen.clear()
        while True:
            try:
                return self.client.list_topics(timeout=min(pause_s, max(0.05, deadline - time.monotonic())))
            except KafkaException as exception:
                self.client.poll(0)
                reason = self._seen.reason
                if is_tls_unknown and (reason is not None or time.monotonic() >= began_at + _TLS_LOOK_S):
                    is_tls_unknown = False
                    if reason is None or reason.code() != KafkaError._RESOLVE:
                        self._check_tls(exception)
                if reason is None and time.monotonic() < deadline and not self.is_given_up:
                    pause_s = min(2 * pause_s, _LONGEST_LOOK_S)
                    continue
                raise self.failed(reason or self._seen.any_reason or error_of(exception), doing) from None

    def _check_tls(self, exception: KafkaException) -> None:
        for server in self._config.servers:
            if self.is_given_up:
                return
            parts = urlsplit(f"//{server}")
            where = Port(
                f"Kafka at {server}",
                parts.hostname or "",
                parts.port or _PORT,
                self._config.tls is not None,
                speech=_SPEECH,
                without_tls="connect without it (no kafka.tls), or give the port of a listener that does TLS",
                with_tls="add kafka.tls (tls: {} where the system's authorities know the broker's certificate, "
                "otherwise kafka.tls.ca), or give the port of a listener that does none",
            )
            if (found := asyncio.run(tls_mismatch(where, exception))) is not None:
                raise found from None

    def failed(self, error: KafkaError, doing: str, *, operation: str = "Describe", topic: str = "") -> SinkError:
        """Ditto's error for one of librdkafka's."""
        self.client.poll(0)
        if error.code() in {KafkaError._TIMED_OUT, KafkaError._TRANSPORT} and self._seen.any_reason is not None:
            error = self._seen.any_reason
        if doing == "connect" and error.code() in _SILENT and self._seen.any_reason is None:
            return SinkLost(
                f"cannot connect to Kafka at {self._where}: no broker answers by {self._protocol}",
                hint=self._protocol_hint,
            )
        doing = f"{doing} to Kafka at {self._where}" if doing == "connect" else doing
        return translate(error, doing, self.access, operation=operation, topic=topic)
