"""The connection by AMQP 0-9-1, which aio-pika makes; and Ditto's errors of what the server answers on it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import aiormq
from aio_pika.abc import AbstractExchange

from ditto import __version__
from ditto.config import RabbitMQ, RabbitTls
from ditto.errors import (
    LoginDenied,
    NotNow,
    PublishRejected,
    SinkDenied,
    SinkError,
    SinkLost,
    StreamNotFound,
    StreamUnusable,
)
from ditto.sinks.rabbitmq.server import address_of, check_login, login_of
from ditto.sinks.rabbitmq.server_errors import unreachable
from ditto.sinks.tls import tls_context

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection

_CONNECT_TIMEOUT_S: Final = 5.0
_HEARTBEAT_S: Final = 20

# What they say comes as an exception too; and at the level debug they would say what is in a message.
for _name in ("aio_pika", "aiormq"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class ExchangeConnection:
    """To one node. Nothing connects again by itself: `on_failure` gets the first fault."""

    def __init__(self, config: RabbitMQ, on_failure: Callable[[SinkError], None]) -> None:
        self._config = config
        self._on_failure = on_failure
        self._address = address_of(config, config.servers[0])
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None

    @property
    def where(self) -> str:
        """What messages call the server."""
        return str(self._address)

    async def connect(self) -> None:
        """To the first node that answers. Raises SinkError and ConfigError, those of the last node."""
        servers = self._config.servers
        for url in servers[:-1]:
            with suppress(SinkLost):
                return await self._connect(url)
        return await self._connect(servers[-1])

    async def _connect(self, url: str) -> None:
        config, address = self._config, address_of(self._config, url)
        self._address = address
        check_login(config, url)
        login = login_of(config, url)
        context = tls_context(config.tls or RabbitTls(), "rabbitmq.tls") if address.has_tls else None
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                connection = await aio_pika.connect(
                    host=address.host,
                    port=address.port,
                    login=login.user,
                    password=login.password,
                    virtualhost=address.vhost,
                    ssl=address.has_tls,
                    ssl_context=context,
                    client_properties={"connection_name": "ditto", "product": "Ditto", "version": __version__},
                    heartbeat=_HEARTBEAT_S,
                )
                self._connection = connection
                connection.close_callbacks.add(self._on_closed)
                self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                self._channel.close_callbacks.add(self._on_closed)
        except (aiormq.exceptions.AMQPError, OSError) as error:
            raise self._reason(error, "connect", user=login.user) from error

    def _on_closed(self, _: object, error: BaseException | None) -> None:
        self._on_failure(
            self._reason(error, "publish events")
            if error is not None
            else SinkLost(f"{self.where}: the connection was closed")
        )

    async def declare(self) -> None:
        """Create the exchange, or see that it is there."""
        if self._channel is None:
            raise SinkLost("not connected to RabbitMQ")
        exchange = self._config.exchange
        if not await self.exists():
            if not exchange.create:
                raise StreamNotFound(
                    f"exchange {exchange.name} does not exist, and rabbitmq.exchange.create is false",
                    hint="create it, durable and of type topic; or let Ditto do it",
                    exchange=exchange.name,
                )
            try:
                async with await self._another() as channel:
                    await channel.declare_exchange(exchange.name, aio_pika.ExchangeType.TOPIC, durable=True)
            except (aiormq.exceptions.AMQPError, OSError) as error:
                raise self._reason(error, f"create exchange {exchange.name}") from error
        self._exchange = await self._channel.get_exchange(exchange.name, ensure=False)

    async def exists(self) -> bool:
        """The exchange does."""
        name = self._config.exchange.name
        try:
            async with await self._another() as channel:
                await channel.get_exchange(name, ensure=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return False
        except (aiormq.exceptions.AMQPError, OSError) as error:
            raise self._reason(error, f"use exchange {name}") from error
        return True

    async def _another(self) -> AbstractChannel:
        """A channel for what may be refused, which closes a channel: that of the events stays."""
        if self._connection is None:
            raise SinkLost("not connected to RabbitMQ")
        return await self._connection.channel()

    async def unblocked(self) -> None:
        """Wait while the server blocks publishers."""
        if (found := self._connection) is not None and (transport := found.transport) is not None:
            await transport.connection.ready()

    async def is_blocked(self) -> bool:
        """Whether the server has said that it takes nothing from publishers."""
        try:
            async with asyncio.timeout(0):
                await self.unblocked()
        except TimeoutError:
            return True
        return False

    async def publish(self, message: aio_pika.Message, route: str) -> None:
        """Until the server has confirmed it. Raises SinkError."""
        if self._exchange is None or self._channel is None:
            raise SinkLost("not connected to RabbitMQ")
        try:
            # Not by `Exchange.publish`, which lets one message after the other reach the socket: the server's
            # confirmations are waited for here.
            channel: Any = await self._channel.get_underlay_channel()
            await channel.basic_publish(
                message.body,
                exchange=self._exchange.name,
                routing_key=route,
                properties=message.properties,
                mandatory=True,
                wait=False,
            )
        except (aiormq.exceptions.AMQPError, aiormq.exceptions.ChannelInvalidStateError, OSError) as error:
            raise self._reason(error, f"publish to exchange {self._exchange.name}", route=route) from error

    async def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close_callbacks.discard(self._on_closed)
            with suppress(aiormq.exceptions.AMQPError, OSError, TimeoutError, RuntimeError):
                async with asyncio.timeout(1):
                    await connection.close()

    def _reason(self, error: BaseException, doing: str, *, user: str = "", route: str = "") -> SinkError:
        found = aiormq.exceptions
        where, begin = self.where, f"{self.where}: cannot {doing}"
        text = str(error)
        if isinstance(error, found.PublishError):
            return StreamUnusable(
                f"{begin}: no queue is bound for routing key {route}, and the event would be lost",
                hint=f"bind a queue to exchange {self._config.exchange.name}, with the routing key # for all events",
            )
        if isinstance(error, found.DeliveryError):
            return NotNow(
                f"{begin}: a queue refuses the message (a limit with reject-publish, or a queue without its leader)",
                hint="make room in the queues that are bound to it, or let their nodes come back: Ditto goes on by "
                "itself",
            )
        if isinstance(error, found.AuthenticationError | found.ProbableAuthenticationError):
            return LoginDenied(
                f"{where}: the server refuses user {user} or the password",
                hint="check rabbitmq.user and rabbitmq.password; guest may connect from the server's own machine only",
            )
        # aiormq expects OpenOk, and tells no more of what came in its place.
        is_vhost_refused = isinstance(error, found.InvalidFrameError) and "Connection.OpenOk" in text
        if isinstance(error, found.ConnectionNotAllowed) or is_vhost_refused:
            return SinkDenied(
                f"{where}: the virtual host {self._address.vhost} does not exist, or user {user} has no permissions in "
                "it",
                hint="see the path of rabbitmq.url; rabbitmqctl add_vhost creates a virtual host, rabbitmqctl "
                "set_permissions lets a user in",
            )
        if isinstance(error, found.ChannelAccessRefused):
            return SinkDenied(
                f"{begin}: the user has no permission",
                hint="the guide to RabbitMQ has the permissions that Ditto needs (rabbitmqctl set_permissions)",
            )
        if isinstance(error, found.ChannelNotFoundEntity):
            return StreamNotFound(
                f"{begin}: it does not exist",
                hint="was it deleted? A start of Ditto creates it (rabbitmq.exchange.create)",
            )
        if isinstance(error, found.ChannelPreconditionFailed):
            return PublishRejected(f"{begin}: {text}", hint="the server's own words; its log may have more")
        if (tls := _tls_error(error)) is not None:
            return unreachable(tls, self._address)
        if isinstance(error, found.ConnectionClosed):
            return SinkLost(f"{where} closes the connection: {text}", hint="see the server's log")
        if isinstance(error, OSError):
            return unreachable(error, self._address, hint=_UNREACHED)
        return SinkLost(f"{begin}: the connection is lost", hint=_UNREACHED)


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The one that is behind it; None where there is none. In aiormq, an error may be its own cause's cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, ssl.SSLError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


_UNREACHED: Final = (
    "is the server running there, and is it reached? See rabbitmq.url: amqp:// usually is port 5672, amqps:// port 5671"
)
