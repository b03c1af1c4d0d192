"""Credentials for nats-py: user, token, keys and certificates, and how the server is verified.

Everything is read and checked here, so that a wrong file is one sentence at the start: nats-py reads a credentials file
while it connects, and looks for the end of one without a JWT for ever.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from nats.aio.client import RawCredentials

from ditto.config import NatsConnection
from ditto.errors import ConfigError, MissingHere

_PORT: Final = 4222
_JWT: Final = re.compile(rb"BEGIN NATS USER JWT[^\r\n]*\s+([^\s]+)")
_SEED: Final = re.compile(rb"BEGIN USER NKEY SEED[^\r\n]*\s+([^\s]+)")
_CREDS: Final = """-----BEGIN NATS USER JWT-----
%s
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
%s
------END USER NKEY SEED------
"""


class Address(NamedTuple):
    """A server without what identifies the user."""

    scheme: str
    host: str
    port: int
    options: dict[str, Any]
    """The user and password, or the token, that its URL has: nats-py would send them percent-encoded."""
    must_encrypt: bool


def address(server: str, config: NatsConnection) -> Address:
    """One server of `nats.url`."""
    scheme, _, rest = server.rpartition("://")
    identity, has_identity, place = rest.rpartition("@")
    options: dict[str, Any] = {}
    if has_identity:
        user, has_password, password = (unquote(part) for part in identity.partition(":"))
        options = {"user": user, "password": password} if has_password else {"token": user}
    parts = urlsplit(f"nats://{place}")
    scheme = scheme.lower() or "nats"
    must_encrypt = config.tls is not None or scheme == "tls"
    return Address(scheme, parts.hostname or "localhost", parts.port or _PORT, options, must_encrypt)


def is_local(host: str) -> bool:
    """Whether this IP address is one of this machine alone."""
    given = ipaddress.ip_address(host.partition("%")[0])
    return (getattr(given, "ipv4_mapped", None) or given).is_loopback


def is_secret(identity: dict[str, Any]) -> bool:
    """Whether these arguments of nats-py's connect() hold what the server is sent as it is: a password or a token."""
    return bool(identity.get("password") or identity.get("token"))


def authentication(config: NatsConnection) -> dict[str, Any]:
    """Arguments of nats-py's connect(), but for TLS. Raises ConfigError."""
    if config.user is not None:
        return {"user": config.user, "password": config.password or ""}
    if config.token is not None:
        return {"token": config.token}
    if config.creds is not None:
        content = _read("nats.creds", config.creds)
        jwt, seed = _JWT.search(content), _SEED.search(content)
        if jwt is None or seed is None:
            raise ConfigError(
                f"nats.creds: {config.creds} does not hold a user's JWT and seed",
                hint="make it with nsc generate creds",
            )
        _check_seed("nats.creds", seed[1].decode("ascii", "replace"))
        # As nats-py wants it, whatever its line ends are; and not read again while it may be replaced.
        return {"user_credentials": RawCredentials(_CREDS % (jwt[1].decode("ascii", "replace"), seed[1].decode()))}
    if config.nkey_seed is not None:
        _check_seed("nats.nkey_seed", config.nkey_seed)
        return {"nkeys_seed_str": config.nkey_seed}
    return {}


class _Claims(msgspec.Struct):
    """The fields of a JWT that Ditto reads: https://www.rfc-editor.org/rfc/rfc7519#section-4.1"""

    exp: int = 0
    name: str = ""
    sub: str = ""


def user_of(config: NatsConnection, to: Address) -> str:
    """As whom Ditto comes, for messages: nothing secret. Never raises."""
    given = {} if config.creds or config.nkey_seed or config.token else to.options
    if user := config.user or given.get("user"):
        return f"user {user}"
    if config.token is not None or "token" in given:
        return "the user of the token"
    if config.creds is not None:
        claims = _claims(config.creds)
        return f"user {claims.name or claims.sub or 'unknown'} (nats.creds)"
    if config.nkey_seed is not None:
        return f"user {_public_key(config.nkey_seed)} (nats.nkey_seed)"
    if config.tls is not None and config.tls.cert is not None:
        return "the user of nats.tls.cert"
    return "a user without a name"


def expired_at(config: NatsConnection) -> str | None:
    """When the JWT in nats.creds expired; None where it has not, and where there is none. Never raises."""
    expiry = _claims(config.creds or "").exp
    if not 0 < expiry <= time.time():
        return None
    try:
        return datetime.fromtimestamp(expiry, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def _claims(path: str) -> _Claims:
    """Of the JWT in the file; empty where there is none."""
    try:
        found = _JWT.search(Path(path).read_bytes())
        payload = found[1].split(b".")[1] if found else b""
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)), type=_Claims)
    except (OSError, ValueError, IndexError):
        return _Claims()


def _public_key(seed: str) -> str:
    import nkeys  # noqa: PLC0415 -- as in _check_seed

    try:
        pair = nkeys.from_seed(bytearray(seed.strip().encode()))
        return str(pair.public_key.decode())
    except Exception:  # noqa: BLE001  as there
        return "of the key"


def _read(key: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MissingHere(f"{key}: cannot read {path}: {error.strerror}") from None


def _check_seed(key: str, seed: str) -> None:
    import nkeys  # noqa: PLC0415 -- a start without one need not wait for it

    try:
        nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
    except Exception:  # noqa: BLE001  whatever it is, it may quote the seed
        raise ConfigError(
            f"{key} is not, or does not hold, the seed of an NKey", hint="a user's seed begins with SU"
        ) from None
