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
from ditto.hints import rabbitmq_definitions, shell
from ditto.sinks.rabbitmq.access import Access, Right, access_of
from ditto.sinks.rabbitmq.server import address_of, check_login, login_of, port_of
from ditto.sinks.rabbitmq.server_errors import unreachable
from ditto.sinks.tls import refusal_of, tls_context
from ditto.sinks.tls_mismatch import tls_mismatch

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection
    from aiormq.abc import FieldTable

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
        self._access: Access = access_of(config, config.servers[0])
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
        self._address, self._access = address, access_of(config, url)
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
            reason = self._reason(error, "connect")
            if (isinstance(reason, SinkLost) or _tls_error(error) is not None) and (
                found := await tls_mismatch(port_of(config, url, None), error)
            ):
                raise found from error
            refused = None
            if context is not None and isinstance(reason, SinkLost) and not isinstance(error, TimeoutError):
                refused = await refusal_of(address.host, address.port, context)
            raise (reason if refused is None else unreachable(refused, address)) from error

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
                    hint=f"create it:\n{self.creation}",
                    exchange=exchange.name,
                )
            try:
                async with await self._another() as channel:
                    await channel.declare_exchange(exchange.name, aio_pika.ExchangeType.TOPIC, durable=True)
            except (aiormq.exceptions.AMQPError, OSError) as error:
                raise self._reason(error, f"create exchange {exchange.name}", right="configure") from error
        self._exchange = await self._channel.get_exchange(exchange.name, ensure=False)

    @property
    def creation(self) -> str:
        """The command that creates the exchange, as Ditto would."""
        name, vhost = self._config.exchange.name, self._access.vhost
        kind = {"type": "topic", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
        return rabbitmq_definitions(exchanges=[{"name": name, "vhost": vhost, **kind}])

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

    async def missing_rights(self, route: str, *, exists: bool) -> SinkError | None:
        """The error with which a start, or the first event on that route, would end. Nothing is created or published:
        the server looks at the right first, and then refuses arguments that it cannot take.
        """
        name = self._config.exchange.name
        try:
            if not exists:
                async with await self._another() as channel:
                    impossible: FieldTable = {"alternate-exchange": 0}
                    await channel.declare_exchange(
                        name, aio_pika.ExchangeType.TOPIC, durable=True, arguments=impossible
                    )
        except aiormq.exceptions.ChannelPreconditionFailed:
            pass
        except (aiormq.exceptions.AMQPError, OSError) as error:
            return self._reason(error, f"create exchange {name}", right="configure")
        try:
            async with await self._another() as channel:
                underlay: Any = await channel.get_underlay_channel()
                properties = aiormq.spec.Basic.Properties(expiration="never")
                await underlay.basic_publish(b"", exchange=name, routing_key=route, properties=properties)
        except (aiormq.exceptions.ChannelPreconditionFailed, aiormq.exceptions.ChannelNotFoundEntity):
            return None
        except (aiormq.exceptions.AMQPError, OSError) as error:
            return self._reason(error, f"publish to exchange {name}")
        return None

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

    def _reason(self, error: BaseException, doing: str, *, right: Right = "write", route: str = "") -> SinkError:
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
                f"{where}: the server refuses user {self._access.user} or the password",
                hint="check rabbitmq.user and rabbitmq.password; guest may connect from the server's own machine only",
            )
        # aiormq expects OpenOk, and tells no more of what came in its place.
        is_vhost_refused = isinstance(error, found.InvalidFrameError) and "Connection.OpenOk" in text
        if isinstance(error, found.ConnectionNotAllowed) or is_vhost_refused:
            return self._access.shut_out(where)
        if isinstance(error, found.ChannelAccessRefused):
            return self._denied(begin, right, text)
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

    def _denied(self, begin: str, right: Right, text: str) -> SinkError:
        name = self._config.exchange.name
        if "access to topic '" in text:  # which routing key it is may hold what is in a row
            access = self._access
            command = shell("rabbitmqctl", "set_topic_permissions", "-p", access.vhost, access.user, name, ".*", ".*")
            return SinkDenied(
                f"{begin}: user {access.user} has no permission to {right} some of the routing keys of exchange {name} "
                f"in virtual host {access.vhost}",
                hint="this lets the user publish with every routing key there",
                command=command,
            )
        return self._access.denied(begin, right, f"exchange {name}")


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
