"""Where the HTTP server listens."""

from __future__ import annotations

import ipaddress
import re

from ditto.config.impossible import Impossible


def split_address(text: str) -> tuple[str, int]:
    """Host (empty for every address) and port of `host:port`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or re.search(r"[\s/]", host):
        raise ValueError(text)
    return host, int(port)


def is_loopback(listen: str) -> bool:
    """Whether only this machine can connect to that address."""
    host, _ = split_address(listen)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_listen(value: str | None) -> str | None:
    """Raises Impossible."""
    if value is not None:
        try:
            split_address(value)
        except ValueError:
            raise Impossible(
                "must be host:port or :port, such as 127.0.0.1:8080 or :8080", hint="put an IPv6 address in [ ]"
            ) from None
    return value


def check_token(value: str | None) -> str | None:
    """Raises Impossible."""
    if value is not None and not re.fullmatch(r"[!-~]+", value):
        raise Impossible("must be printable ASCII characters without white space, and not empty")
    return value
