"""The section of a webhook: batches of events, each posted over HTTP, in place of NATS."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from ditto.config.documented import Bytes, Seconds
from ditto.config.documented import documented as _doc
from ditto.config.durations import check_not_negative, check_positive
from ditto.config.header_names import is_possible
from ditto.config.impossible import Impossible
from ditto.config.tls import ClientTls, half_given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PREFIX: Final = "whsec_"
_LEAST_KEY: Final = 24
_MOST_KEY: Final = 64
_OWN: Final = frozenset(
    {
        "authorization", "connection", "content-encoding", "content-length", "content-type", "ditto-position", "expect",
        "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that Ditto, or the client library, writes."""


class WebhookTls(ClientTls, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS to the receiver. Without any key the system's certificate authorities are trusted."""


class Webhook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiver that gets the events by HTTP POST, in place of NATS. See [webhooks](guides/webhook.md)."""

    url: Annotated[
        str,
        _doc(
            "Where the batches are posted. With `http://`, whoever can read the network between them can read "
            "the events: Ditto warns of it, unless the receiver is on this machine.",
            "https://hooks.example.com/ditto",
            mask="address",
        ),
    ]
    secret: Annotated[
        str | list[str] | None,
        _doc(
            "Secret of the Standard Webhooks signature: `whsec_` and the base64 of 24 to 64 random bytes. With a list "
            "(or one text with commas) each request has a signature by each of them, so that a secret can be replaced. "
            "Absent: requests are not signed.",
            "${WEBHOOK_SECRET}",
            ["${WEBHOOK_SECRET}", "${WEBHOOK_OLD_SECRET}"],
            mask="whole",
        ),
    ] = None
    token: Annotated[str | None, _doc("Sent as `Authorization: Bearer TOKEN`.", "${WEBHOOK_TOKEN}", mask="whole")] = (
        None
    )
    user: Annotated[str | None, _doc("User of HTTP basic authentication. Goes with `password`.", "ditto")] = None
    password: Annotated[str | None, _doc("Password of `user`.", "${WEBHOOK_PASSWORD}", mask="whole")] = None
    headers: Annotated[
        dict[str, str],
        _doc("More headers of each request.", {"X-Api-Key": "${API_KEY}"}, mask="values"),
    ] = {}
    tls: Annotated[WebhookTls | None, _doc("How to connect to an `https://` address.")] = None
    body: Annotated[
        Literal["array", "ndjson"],
        _doc("The body of a request: a JSON array of events, or one event a line."),
    ] = "array"
    max_events: Annotated[int, Meta(ge=1, le=100_000), _doc("How many events a request has at most.")] = 500
    max_bytes: Annotated[
        Bytes,
        Meta(ge=1024),
        _doc(
            "How many bytes a body has at most. `events.oversize` decides what becomes of a single event that is "
            "larger. The default is what nginx takes.",
            "6MB",
        ),
    ] = 1 << 20
    linger_s: Annotated[
        Seconds,
        _doc(
            "How long a request may wait for more events. By default none waits: events that come while a request is "
            "on its way make the next one.",
            "200ms",
        ),
    ] = field(default=0.0, name="linger")
    timeout_s: Annotated[
        Seconds, _doc("How long a receiver may take to answer a request before it is sent again.", "30s")
    ] = field(default=30.0, name="timeout")
    retry_for_s: Annotated[
        Seconds,
        _doc(
            "How long a batch is sent again and again, before the session ends and the next one begins at the slot.",
            "1m",
        ),
    ] = field(default=15.0, name="retry_for")

    @property
    def secrets(self) -> list[str]:
        """`secret` as a list, whichever way it was written."""
        return [] if self.secret is None else [self.secret] if isinstance(self.secret, str) else self.secret

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be shown. The rest of a webhook's address is often its secret."""
        return origin(self.url)

    @property
    def is_exposed(self) -> bool:
        """The events cross a network in plain text."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def origin(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_address(value: str) -> str:
    """The address, with its scheme in lower case. Raises Impossible."""
    try:
        parts = urlsplit(value)
        is_possible_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        host = (parts.hostname or "").encode("idna" if ":" not in (parts.hostname or "") else "ascii")
    except (ValueError, UnicodeError):
        is_possible_address, host = False, b""
    if not is_possible_address or not host or re.search(r"[\s\x00-\x1f]", value) or not value.isascii():
        raise Impossible(
            "must be an address such as https://hooks.example.com/ditto",
            hint="percent-encode what is not ASCII, and write a name in its ASCII form (xn--…)",
        )
    if "@" in parts.netloc:
        raise Impossible("has a user in it", hint="give webhook.user and webhook.password, or webhook.token")
    if parts.fragment:
        raise Impossible("has a fragment (#…), which is not sent", hint="leave it out")
    return f"{parts.scheme}{value[len(parts.scheme) :]}"


def check_secret(value: str | list[str] | None) -> str | list[str] | None:
    """A list where there are several. Raises Impossible."""
    if value is None:
        return None
    found = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not found or not all(map(is_secret, found)):
        raise Impossible(
            f"must be {_PREFIX} followed by the base64 of {_LEAST_KEY} to {_MOST_KEY} bytes",
            hint='echo "whsec_$(openssl rand -base64 32)" makes one',
        )
    return found if len(found) > 1 or isinstance(value, list) else found[0]


def is_secret(text: str) -> bool:
    """Whether that is a secret of Standard Webhooks."""
    if not text.startswith(_PREFIX):
        return False
    try:
        return _LEAST_KEY <= len(key_of(text)) <= _MOST_KEY
    except binascii.Error:
        return False


def key_of(secret: str) -> bytes:
    """The bytes that a secret stands for."""
    text = secret.removeprefix(_PREFIX)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # also without its padding


def check_credential(value: str | None) -> str | None:
    """Raises Impossible for what no header can hold."""
    if value is not None and not re.fullmatch(r"[!-~]+", value):
        raise Impossible("must be printable ASCII characters without white space, and not empty")
    return value


def check_user(value: str | None) -> str | None:
    """Raises Impossible for what basic authentication cannot send."""
    if value is not None and (not value.isprintable() or ":" in value):
        raise Impossible("must be printable characters without a colon")
    return value


def check_headers(value: dict[str, str]) -> dict[str, str]:
    """Raises Impossible."""
    for name, text in value.items():
        place = f"webhook.headers.{name}"
        if not is_possible(name):
            raise Impossible("is not the name of a header", place=place)
        if name.lower() in _OWN or name.lower().startswith("webhook-"):
            hint = "webhook.token, or webhook.user and webhook.password" if name.lower() == "authorization" else None
            raise Impossible("is a header that Ditto writes itself", place=place, hint=hint and f"give {hint}")
        if not re.fullmatch(r"[ -~]*", text) or text != text.strip():
            raise Impossible("must be printable ASCII characters, without spaces at its ends", place=place)
    return value


def check_max_bytes(value: int) -> int:
    """Raises Impossible."""
    if value < 1024:
        raise Impossible("must be at least 1kB")
    return value


def contradiction(webhook: Webhook) -> tuple[str, str, str | None] | None:
    """The key, the sentence and the hint where keys contradict each other."""
    if webhook.password is not None and webhook.user is None:
        return "webhook.password", "webhook.password is given without webhook.user", None
    if webhook.user is not None and webhook.token is not None:
        return "webhook.token", "webhook.user and webhook.token exclude each other", "give one way to authenticate"
    if webhook.tls is not None and webhook.url.startswith("http:"):
        return "webhook.tls", "webhook.tls is given for an address without TLS", "let webhook.url begin with https"
    return half_given(webhook.tls, "webhook.tls")


def shown(url: str) -> str:
    """An address as it may be shown."""
    parts: Any = urlsplit(url)
    return origin(url) + ("/***" if parts.path not in {"", "/"} or parts.query else parts.path)


WEBHOOK_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "webhook.url": check_address,
        "webhook.secret": check_secret,
        "webhook.token": check_credential,
        "webhook.user": check_user,
        "webhook.headers": check_headers,
        "webhook.max_bytes": check_max_bytes,
        "webhook.linger": check_not_negative,
        "webhook.timeout": check_positive,
        "webhook.retry_for": check_positive,
    }
)
"""By key, as `validation.CHECKS`."""
