"""The section of Redis and Valkey: streams in place of NATS."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from ditto.config.documented import Seconds
from ditto.config.documented import documented as _doc
from ditto.config.durations import check_positive
from ditto.config.impossible import Impossible
from ditto.config.tls import ClientTls, half_given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class RedisTls(ClientTls, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS to Redis. Without any key the system's certificate authorities are trusted."""


class Redis(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Streams of Redis or Valkey that the events go to, in place of NATS."""

    url: Annotated[
        str,
        _doc(
            "Address of the server, with the number of the database where it is not 0: `redis://`, `rediss://` for "
            "TLS, `unix://` for a socket. Of a cluster, any node.",
            "redis://localhost:6379",
            "rediss://redis.example.com:6379/2",
            "unix:///run/redis/redis.sock",
            mask="url",
        ),
    ] = "redis://localhost:6379"
    user: Annotated[str | None, _doc("Name of the ACL user. Goes with `password`.", "ditto")] = None
    password: Annotated[
        str | None,
        _doc("Password of `user`; without `user`, that of the default user.", "${REDIS_PASSWORD}", mask="whole"),
    ] = None
    tls: Annotated[
        RedisTls | None, _doc("Connect with TLS, also where the address does not begin with `rediss://`.")
    ] = None
    allow_plaintext_credentials: Annotated[
        bool,
        _doc(
            "Send a password to a server on another machine without TLS. Whoever can read the network between them "
            "gets it. By default Ditto refuses."
        ),
    ] = False
    key_prefix: Annotated[
        str,
        _doc(
            "What every key begins with: those of the streams, which go on with the event's subject, and Ditto's own. "
            "On a cluster it has to hold a hash tag, so that all keys are on one node.",
            "{shop}:",
        ),
    ] = ""
    max_length: Annotated[
        int,
        Meta(ge=0),
        _doc(
            "About how many entries each stream keeps: the oldest ones are removed as new ones come (`MAXLEN ~`). `0` "
            "keeps all of them."
        ),
    ] = 0
    ack_timeout_s: Annotated[
        Seconds,
        _doc("How long an answer may take before the session ends and the next one begins.", "10s", 2.5),
    ] = field(default=10.0, name="ack_timeout")


def check_url(value: str) -> str:
    """The address, with its scheme in lower case. Raises Impossible."""
    try:
        parts = urlsplit(value)
        is_server = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
        is_possible = parts.scheme == "unix" and bool(parts.path) if parts.scheme == "unix" else is_server
    except ValueError:
        is_possible = False
    if is_possible and parts.scheme != "unix":
        is_possible = re.fullmatch(r"/?[0-9]{0,5}", parts.path) is not None
    if not is_possible or re.search(r"\s", value) or parts.query or parts.fragment:
        raise Impossible(
            "must be an address such as redis://localhost:6379, rediss://redis.example.com:6379/0 or "
            "unix:///run/redis/redis.sock",
            hint="percent-encode the characters : / @ ? # % in a user and a password; give everything else as keys of "
            "the section redis",
        )
    return f"{parts.scheme}{value[len(parts.scheme) :]}"


def check_key_prefix(value: str) -> str:
    """Raises Impossible."""
    if len(value.encode()) > 200 or not (value == "" or value.isprintable()):
        raise Impossible("must be at most 200 bytes of printable characters")
    return value


def contradiction(redis: Redis) -> tuple[str, str, str | None] | None:
    """Key, sentence and hint, where keys of the section do not go together."""
    if redis.user is not None and redis.password is None:
        return "redis.user", "redis.user is given without redis.password", None
    if redis.password is not None and "@" in redis.url:
        sentence = "redis.password is given, and redis.url has a user or a password too"
        return "redis.password", sentence, "give one of them"
    if redis.tls is not None and redis.url.startswith("unix:"):
        return "redis.tls", "redis.tls is given for a Unix socket", "leave it out"
    return half_given(redis.tls, "redis.tls")


REDIS_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "redis.url": check_url,
        "redis.key_prefix": check_key_prefix,
        "redis.ack_timeout": check_positive,
    }
)
"""By key, as `validation.CHECKS`."""
