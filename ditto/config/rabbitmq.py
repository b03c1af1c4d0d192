"""The section of RabbitMQ: a stream in place of one of NATS."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import unquote, urlsplit

from msgspec import Meta, Struct, field

from ditto.config.documented import Seconds
from ditto.config.documented import documented as _doc
from ditto.config.durations import check_positive
from ditto.config.impossible import Impossible
from ditto.config.tls import ClientTls, half_given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STREAM_SCHEMES: Final = ("rabbitmq-stream", "rabbitmq-stream+tls")
_LONGEST_NAME: Final = 255
_OWN_SUFFIX: Final = ".ditto"


class RabbitTls(ClientTls, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS to RabbitMQ. Without any key the system's certificate authorities are trusted."""


class RabbitStream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream that the events go to, and how it is created."""

    name: Annotated[
        str,
        _doc(
            "Name of the stream. Ditto is its only writer. How far it is, Ditto keeps in a second, small stream, whose "
            "name has `.ditto` at its end.",
            "shop",
        ),
    ] = "ditto"
    create: Annotated[bool, _doc("Create the streams where they are missing.")] = True
    max_bytes: Annotated[
        int,
        Meta(ge=0),
        _doc(
            "About how many bytes the stream keeps, in one replica: the oldest segments are removed "
            "(`max-length-bytes`). `0` keeps all. Holds for a stream that Ditto creates.",
            20_000_000_000,
        ),
    ] = 0
    max_age_s: Annotated[
        Seconds,
        _doc(
            "How long the stream keeps its messages: older segments are removed (`max-age`). `0s` keeps all. Holds for "
            "a stream that Ditto creates.",
            "168h",
        ),
    ] = field(default=0.0, name="max_age")
    replicas: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _doc("Copies of a stream that Ditto creates (`initial-cluster-size`); absent: one on each node.", 3),
    ] = None

    @property
    def own(self) -> str:
        """The name of the stream that says how far Ditto is."""
        return f"{self.name}{_OWN_SUFFIX}"


class RabbitMQ(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream of RabbitMQ that the events go to, in place of NATS."""

    url: Annotated[
        str | list[str],
        _doc(
            "Address of a node, with the virtual host where it is not `/`: `rabbitmq-stream://`, or "
            "`rabbitmq-stream+tls://` for TLS. Or a list of the nodes of one cluster (a list, or one text with "
            "commas): the first one that answers is used.",
            "rabbitmq-stream://localhost:5552",
            "rabbitmq-stream+tls://rabbit.example.com:5551/shop",
            ["rabbitmq-stream://r1:5552/shop", "rabbitmq-stream://r2:5552/shop"],
            mask="url",
        ),
    ] = "rabbitmq-stream://localhost:5552"
    user: Annotated[
        str | None, _doc("User name. Goes with `password`. Without both, and without them in `url`: `guest`.", "ditto")
    ] = None
    password: Annotated[str | None, _doc("Password of `user`.", "${RABBITMQ_PASSWORD}", mask="whole")] = None
    tls: Annotated[
        RabbitTls | None, _doc("Connect with TLS, also where the address does not begin with `rabbitmq-stream+tls://`.")
    ] = None
    allow_plaintext_credentials: Annotated[
        bool,
        _doc(
            "Send the password to a server on another machine without TLS. Whoever can read the network between them "
            "gets it. By default Ditto refuses."
        ),
    ] = False
    stream: Annotated[RabbitStream, _doc("The stream that the events go to, and how it is created.")] = RabbitStream()
    ack_timeout_s: Annotated[
        Seconds,
        _doc("How long an answer may take before the session ends and the next one begins.", "10s", 2.5),
    ] = field(default=10.0, name="ack_timeout")

    @property
    def servers(self) -> list[str]:
        """`url` as a list, whichever way it was written."""
        return [self.url] if isinstance(self.url, str) else self.url


def virtual_host(url: str) -> str:
    """The one that an address names."""
    return unquote(urlsplit(url).path.removeprefix("/")) or "/"


def check_url(value: str | list[str]) -> str | list[str]:
    """The addresses, with their schemes in lower case. Raises Impossible."""
    servers = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not servers:
        raise Impossible("must name at least one server")
    checked = [_check_server(server) for server in servers]
    if len({virtual_host(server) for server in checked}) > 1:
        raise Impossible("must name the same virtual host in each address")
    return checked if len(checked) > 1 or isinstance(value, list) else checked[0]


def _check_server(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_possible = parts.scheme in STREAM_SCHEMES and bool(parts.hostname) and parts.port != 0
        is_possible = is_possible and "/" not in parts.path.removeprefix("/")
    except ValueError:
        is_possible = False
    if not is_possible or re.search(r"\s", value) or parts.query or parts.fragment:
        raise Impossible(
            "must be an address such as rabbitmq-stream://localhost:5552 or "
            "rabbitmq-stream+tls://rabbit.example.com:5551/shop",
            hint="percent-encode the characters : / @ ? # % in a user, a password and a virtual host; give everything "
            "else as keys of the section rabbitmq",
        )
    return f"{parts.scheme}{value[len(parts.scheme) :]}"


def check_name(value: str) -> str:
    """Raises Impossible."""
    longest = _LONGEST_NAME - len(_OWN_SUFFIX)
    if not 0 < len(value.encode()) <= longest or not value.isprintable() or value.startswith("amq."):
        raise Impossible(f"must be 1 to {longest} bytes of printable characters, and not begin with amq.")
    return value


def _check_age(value: float) -> float:
    if value < 0 or (value and value < 1):
        raise Impossible("must be 0 (for ever) or at least one second")
    return value


def contradiction(rabbitmq: RabbitMQ) -> tuple[str, str, str | None] | None:
    """Key, sentence and hint, where keys of the section do not go together."""
    if (rabbitmq.user is None) != (rabbitmq.password is None):
        missing, given = ("password", "user") if rabbitmq.password is None else ("user", "password")
        return f"rabbitmq.{given}", f"rabbitmq.{given} is given without rabbitmq.{missing}", None
    if rabbitmq.password is not None and any("@" in server for server in rabbitmq.servers):
        sentence = "rabbitmq.password is given, and rabbitmq.url has a user or a password too"
        return "rabbitmq.password", sentence, "give one of them"
    return half_given(rabbitmq.tls, "rabbitmq.tls")


RABBITMQ_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "rabbitmq.url": check_url,
        "rabbitmq.stream.name": check_name,
        "rabbitmq.stream.max_age": _check_age,
        "rabbitmq.ack_timeout": check_positive,
    }
)
"""By key, as `validation.CHECKS`."""
