"""The section of RabbitMQ: a stream, or an exchange, in place of a stream of NATS."""

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

PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {"rabbitmq-stream": 5552, "rabbitmq-stream+tls": 5551, "amqp": 5672, "amqps": 5671}
)
"""By scheme: the usual port. The first two are for a stream, the others for an exchange."""
_SECURE: Final[Mapping[str, str]] = MappingProxyType({"rabbitmq-stream": "rabbitmq-stream+tls", "amqp": "amqps"})
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


class RabbitExchange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An exchange that the events go to, and how it is created."""

    name: Annotated[
        str, _doc("Name of the exchange. An event's routing key is its subject (`events.subject`).", "shop")
    ] = "ditto"
    create: Annotated[bool, _doc("Create the exchange where it is missing: durable, of type topic.")] = True
    max_bytes: Annotated[
        int,
        Meta(ge=1024),
        _doc(
            "Bytes of the largest message, with its headers: no more than `max_message_size` of the server, which is "
            "16 MiB in RabbitMQ 4 and 128 MiB before.",
            134_217_728,
        ),
    ] = 16_777_216


class RabbitMQ(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream or an exchange of RabbitMQ that the events go to, in place of NATS."""

    url: Annotated[
        str | list[str],
        _doc(
            "Address of a node, with the virtual host where it is not `/`. The scheme says where the events go: to a "
            "stream with `rabbitmq-stream://`, to an exchange with `amqp://`; with TLS `rabbitmq-stream+tls://` and "
            "`amqps://`. Or a list of the nodes of one cluster (a list, or one text with commas): the first one that "
            "answers is used.",
            "rabbitmq-stream://localhost:5552",
            "rabbitmq-stream+tls://rabbit.example.com:5551/shop",
            ["rabbitmq-stream://r1:5552/shop", "rabbitmq-stream://r2:5552/shop"],
            "amqps://rabbit.example.com/shop",
            mask="url",
        ),
    ] = "rabbitmq-stream://localhost:5552"
    user: Annotated[
        str | None, _doc("User name. Goes with `password`. Without both, and without them in `url`: `guest`.", "ditto")
    ] = None
    password: Annotated[str | None, _doc("Password of `user`.", "${RABBITMQ_PASSWORD}", mask="whole")] = None
    tls: Annotated[
        RabbitTls | None, _doc("Connect with TLS, also where the scheme of the address does not say so.")
    ] = None
    allow_plaintext_credentials: Annotated[
        bool,
        _doc(
            "Send the password to a server on another machine without TLS. Whoever can read the network between them "
            "gets it. By default Ditto refuses."
        ),
    ] = False
    stream: Annotated[RabbitStream, _doc("The stream that the events go to, and how it is created.")] = RabbitStream()
    exchange: Annotated[
        RabbitExchange, _doc("The exchange that the events go to, and how it is created. Goes with `amqp://`.")
    ] = RabbitExchange()
    ack_timeout_s: Annotated[
        Seconds,
        _doc("How long an answer may take before the session ends and the next one begins.", "10s", 2.5),
    ] = field(default=10.0, name="ack_timeout")

    @property
    def servers(self) -> list[str]:
        """`url` as a list, whichever way it was written."""
        return [self.url] if isinstance(self.url, str) else self.url

    @property
    def has_exchange(self) -> bool:
        """The events go to an exchange, not to a stream."""
        return scheme_of(self.servers[0]).startswith("amqp")


def scheme_of(url: str) -> str:
    """In lower case."""
    return url.partition("://")[0].lower()


def secure_scheme(url: str) -> str:
    """The scheme that says the same with TLS."""
    return _SECURE.get(scheme_of(url), scheme_of(url))


def plain_scheme(url: str) -> str:
    """The scheme that says the same without TLS."""
    return next((plain for plain, secure in _SECURE.items() if secure == scheme_of(url)), scheme_of(url))


def virtual_host(url: str) -> str:
    """The one that an address names."""
    return unquote(urlsplit(url).path.removeprefix("/")) or "/"


def check_url(value: str | list[str]) -> str | list[str]:
    """The addresses, with their schemes in lower case. Raises Impossible."""
    servers = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not servers:
        raise Impossible("must name at least one server")
    checked = [_check_server(server) for server in servers]
    if len({scheme_of(server)[:4] for server in checked}) > 1:
        raise Impossible("must lead to a stream with each address, or to an exchange with each")
    if len({virtual_host(server) for server in checked}) > 1:
        raise Impossible("must name the same virtual host in each address")
    return checked if len(checked) > 1 or isinstance(value, list) else checked[0]


def _check_server(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_possible = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
        is_possible = is_possible and "/" not in parts.path.removeprefix("/")
    except ValueError:
        is_possible = False
    if not is_possible or re.search(r"\s", value) or parts.query or parts.fragment:
        raise Impossible(
            "must be an address such as rabbitmq-stream://localhost:5552 (a stream), amqp://localhost:5672 (an "
            "exchange) or rabbitmq-stream+tls://rabbit.example.com:5551/shop",
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


def _check_exchange(value: str) -> str:
    if not 0 < len(value.encode()) <= _LONGEST_NAME or not value.isprintable():
        raise Impossible(f"must be 1 to {_LONGEST_NAME} bytes of printable characters")
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
    unused, of = ("stream", RabbitStream()) if rabbitmq.has_exchange else ("exchange", RabbitExchange())
    if getattr(rabbitmq, unused) != of:
        kind = "an exchange" if rabbitmq.has_exchange else "a stream"
        return (
            f"rabbitmq.{unused}",
            f"rabbitmq.{unused} is given, and rabbitmq.url leads to {kind}",
            "amqp:// leads to an exchange, rabbitmq-stream:// to a stream",
        )
    return half_given(rabbitmq.tls, "rabbitmq.tls")


RABBITMQ_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "rabbitmq.url": check_url,
        "rabbitmq.stream.name": check_name,
        "rabbitmq.exchange.name": _check_exchange,
        "rabbitmq.stream.max_age": _check_age,
        "rabbitmq.ack_timeout": check_positive,
    }
)
"""By key, as `validation.CHECKS`."""
