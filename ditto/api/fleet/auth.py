"""Who asks, and what they may do: tokens by their SHA-256, and programs of this machine where that is configured."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import Struct

from ditto.api.access import host_name
from ditto.config.server import ROLES

if TYPE_CHECKING:
    from ditto.config.server import Auth

Role: TypeAlias = Literal["read", "operate", "admin"]
LOOPBACK: Final = "loopback"
"""The name of a client without a token, in the log."""
TOKEN_PREFIX: Final = "ditto_"  # noqa: S105  tools that look for secrets in files know a token by it
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""A request with one of these headers comes from elsewhere, through a proxy of this machine."""


class Identity(Struct, frozen=True):
    """Who asks."""

    name: str
    """That of the token."""
    role: Role

    def may(self, needed: Role) -> bool:
        """Whether this one has that role, or one that includes it."""
        return ROLES.index(self.role) >= ROLES.index(needed)


class Authenticator:
    """Knows the tokens of the configuration."""

    def __init__(self, auth: Auth) -> None:
        self._known = [(each.sha256.lower().encode(), Identity(each.name, each.role)) for each in auth.tokens]
        self._allows_loopback = auth.allow_loopback

    def by_token(self, token: str) -> Identity | None:
        """Whose token that is. Takes the same time whichever it is."""
        given, found = digest(token).encode(), None
        for known, identity in self._known:
            if hmac.compare_digest(given, known):
                found = identity
        return found

    def identify(self, headers: Mapping[str, str], client: str | None) -> Identity | None:
        """Who sent a request with these headers (names in lower case) from this address; None for nobody known.

        A wrong token is not replaced by where it comes from. Without one, a page of elsewhere can neither reach this
        by a name of its own (DNS rebinding), nor through a proxy.
        """
        authorization = headers.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            return self.by_token(token.strip()) if scheme.lower() == "bearer" else None
        if not self._allows_loopback or not _is_loopback(client) or any(name in headers for name in _FORWARDED):
            return None
        name = host_name(headers.get("host", ""))
        return Identity(LOOPBACK, "admin") if name == "localhost" or _is_loopback(name) else None


def digest(token: str) -> str:
    """What the configuration holds of a token. A token has 256 random bits: no salt and no slow hash adds to that."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """Random; 256 bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def _is_loopback(address: str | None) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
