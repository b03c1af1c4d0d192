"""Connecting to a stream of RabbitMQ: the socket, TLS, the login, and what their failures mean."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from rstream import schema
from rstream.encoding import encode_frame

from ditto.config import RabbitMQ, RabbitTls
from ditto.errors import AnswerUnreadable, SinkError, SinkLost
from ditto.sinks.rabbitmq.access import access_of
from ditto.sinks.rabbitmq.connection import Connection
from ditto.sinks.rabbitmq.server import address_of, check_login, login_of, port_of
from ditto.sinks.rabbitmq.server_errors import unreachable
from ditto.sinks.tls import refusal_of, tls_context
from ditto.sinks.tls_mismatch import Speech, tls_mismatch

_CONNECT_TIMEOUT_S: Final = 5.0
_LIMIT: Final = 1 << 20
_SPEECH: Final = Speech(encode_frame(schema.PeerProperties(1, [])), re.compile(rb"....\x80\x11", re.DOTALL))


async def connect(
    config: RabbitMQ,
    *,
    clock: Callable[[], float],
    on_failure: Callable[[SinkError], None],
    reads_only: bool = False,
) -> Connection:
    """To the first node that answers. Raises SinkError and ConfigError, those of the last node."""
    for url in config.servers[:-1]:
        with suppress(SinkLost):
            return await _connect(config, url, clock=clock, on_failure=on_failure, reads_only=reads_only)
    return await _connect(config, config.servers[-1], clock=clock, on_failure=on_failure, reads_only=reads_only)


async def _connect(
    config: RabbitMQ,
    url: str,
    *,
    clock: Callable[[], float],
    on_failure: Callable[[SinkError], None],
    reads_only: bool,
) -> Connection:
    address = address_of(config, url)
    check_login(config, url)
    context = tls_context(config.tls or RabbitTls(), "rabbitmq.tls") if address.has_tls else None
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context, limit=_LIMIT)
    except OSError as error:
        raise await _unreachable(error, config, url) from error
    connection = Connection(
        reader,
        writer,
        where=str(address),
        address=address,
        access=access_of(config, url, reads_only=reads_only),
        timeout_s=config.ack_timeout_s,
        clock=clock,
        on_failure=on_failure,
    )
    try:
        async with asyncio.timeout(config.ack_timeout_s):
            await connection.log_in(login_of(config, url).password)
    except (OSError, EOFError) as error:
        writer.transport.abort()
        if context is not None and isinstance(error, ConnectionError | EOFError):
            refused = await refusal_of(address.host, address.port, context)
            if refused is not None:
                raise unreachable(refused, address) from error
        raise await _unreachable(error, config, url) from error
    except AnswerUnreadable as error:
        writer.transport.abort()
        raise (await tls_mismatch(port_of(config, url, _SPEECH), error) or error) from error.__cause__
    except BaseException:
        writer.transport.abort()
        raise
    connection.begin()
    return connection


async def _unreachable(error: BaseException, config: RabbitMQ, url: str) -> SinkError:
    found = await tls_mismatch(port_of(config, url, _SPEECH), error)
    return found or unreachable(error, address_of(config, url))
