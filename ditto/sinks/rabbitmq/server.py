"""Which server, as whom, and with which certificates: what the configuration says of the connection."""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from ditto.config import RabbitMQ
from ditto.config.rabbitmq import PORTS, plain_scheme, scheme_of, secure_scheme, virtual_host
from ditto.errors import LoginDenied
from ditto.sinks.tls_mismatch import Port, Speech

_GUEST: Final = "guest"


class Address(NamedTuple):
    """A node."""

    host: str
    port: int
    vhost: str
    has_tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"RabbitMQ at {host}:{self.port}"


class Login(NamedTuple):
    """User and password."""

    user: str
    password: str


def address_of(config: RabbitMQ, url: str) -> Address:
    """The node that one address of the configuration names."""
    parts = urlsplit(url)
    scheme = secure_scheme(url) if config.tls is not None else scheme_of(url)
    has_tls = scheme == secure_scheme(url)
    return Address(parts.hostname or "", parts.port or PORTS[scheme], virtual_host(url), has_tls)


def port_of(config: RabbitMQ, url: str, speech: Speech | None) -> Port:
    """The same, for whether TLS is what does not fit there."""
    address, plain, secure = address_of(config, url), plain_scheme(url), secure_scheme(url)
    return Port(
        str(address),
        address.host,
        address.port,
        address.has_tls,
        speech=speech,
        without_tls=f"connect without it ({plain}:// in rabbitmq.url, and no rabbitmq.tls), or give the port that does "
        f"TLS, which usually is {PORTS[secure]}",
        with_tls=f"let rabbitmq.url begin with {secure}://; rabbitmq.tls.ca names the authority, where it is not one "
        "of the system's",
    )


def login_of(config: RabbitMQ, url: str) -> Login:
    """As whom."""
    if config.user is not None:
        return Login(config.user, config.password or "")
    parts = urlsplit(url)
    if parts.username is not None:
        return Login(unquote(parts.username), unquote(parts.password or ""))
    return Login(_GUEST, _GUEST)


def is_readable_on_the_way(config: RabbitMQ, url: str) -> bool:
    """The password goes to another machine without TLS."""
    address = address_of(config, url)
    return not address.has_tls and not _is_local(address.host)


def check_login(config: RabbitMQ, url: str) -> None:
    """Raise LoginDenied where somebody could read the password, and that is not allowed."""
    if is_readable_on_the_way(config, url) and not config.allow_plaintext_credentials:
        raise LoginDenied(
            f"{address_of(config, url)} is on another machine and has no TLS: Ditto does not show it the password",
            hint=f"use {secure_scheme(url)}:// or rabbitmq.tls; or allow it with "
            "rabbitmq.allow_plaintext_credentials: true, on a network that nobody else can read",
        )


def _is_local(host: str) -> bool:
    try:
        given = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost"
    return (getattr(given, "ipv4_mapped", None) or given).is_loopback
