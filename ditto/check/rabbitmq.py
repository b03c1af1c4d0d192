"""The checks of a RabbitMQ node, of the streams on it, and of both ends together."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

from rstream import schema
from rstream.constants import OffsetType

from ditto.check.finding import Finding, bad, failed, named, ok, unseen
from ditto.check.place import compare_sink
from ditto.errors import DittoError
from ditto.sinks.rabbitmq.connection import Connection, connect
from ditto.sinks.rabbitmq.exchange_connection import ExchangeConnection
from ditto.sinks.rabbitmq.server import is_readable_on_the_way
from ditto.sinks.rabbitmq.server_errors import OK
from ditto.sinks.rabbitmq.sink import RabbitMQSink
from ditto.sinks.rabbitmq.writer import NAME
from ditto.units import counted, size, span

if TYPE_CHECKING:
    from ditto.check.source import Source
    from ditto.config import Config, Delivery, RabbitMQ

_OLDEST: Final = (3, 9)
_NUMBER: Final = 200
"""Of a publisher and a subscription that are given up again."""
_CONFIRM_DELAY_S: Final = 60
"""The operating system writes to the disk what is half a minute old (vm.dirty_expire_centisecs)."""


async def check_rabbitmq(
    config: Config, source: Source | None, found: list[Finding], monitor_url: str | None, *, is_running: bool
) -> None:
    """See `check.choose`."""
    del monitor_url
    rabbitmq = config.rabbitmq
    if rabbitmq is None:
        raise RuntimeError("there is no section rabbitmq")
    if rabbitmq.has_exchange:
        found += await _exchange(rabbitmq)
        return
    try:
        connection = await connect(rabbitmq, clock=time.monotonic, on_failure=lambda _error: None)
    except DittoError as error:
        found.append(failed("rabbitmq.connect", error))
        return
    try:
        found.append(ok("rabbitmq.connect", f"connected to {connection.where}", "everything goes there"))
        found += [_credentials(rabbitmq), _version(connection), _frame(connection)]
        found += await _streams(rabbitmq, connection, config.delivery)
    except DittoError as error:
        found.append(unseen("rabbitmq.streams", error))
    finally:
        await connection.close()
    if not is_running:
        found += await compare_sink(config, source, RabbitMQSink(config, clock=time.monotonic))


def _credentials(config: RabbitMQ) -> Finding:
    check, why = "rabbitmq.credentials", "a reader on the way could write into the stream in Ditto's place"
    if not any(is_readable_on_the_way(config, url) for url in config.servers):
        return ok(check, "no password goes to another machine in plain text", why)
    what = "a password goes to another machine in plain text (rabbitmq.allow_plaintext_credentials)"
    return bad("warning", check, what, why, configuration="rabbitmq: {tls: {}}   # then remove that setting")


def _version(connection: Connection) -> Finding:
    check, why = "rabbitmq.version", "streams, and publishers that are known by name, came with RabbitMQ 3.9"
    version = connection.properties.get("version", "")
    numbers = tuple(int(each) for each in re.findall(r"\d+", version)[:2])
    if not numbers:
        return bad("warning", check, "the server does not say its version", why)
    if numbers < _OLDEST:
        return bad("error", check, f"the server is RabbitMQ {version}", why)
    return ok(check, f"RabbitMQ {version}", why)


def _frame(connection: Connection) -> Finding:
    check, why = "rabbitmq.frame_max", "an event that is larger stops Ditto, unless events.oversize says otherwise"
    return ok(check, f"frames may have {size(connection.frame_max)} (stream.frame_max of the server)", why)


async def _streams(config: RabbitMQ, connection: Connection, delivery: Delivery) -> list[Finding]:
    check, why = "rabbitmq.streams", "events go to one stream; how far Ditto is, a second one says"
    names = [config.stream.name, config.stream.own]
    answer = await connection.ask("look for streams", schema.Metadata, names)
    by_name = {each.name: each for each in answer.metadata}
    there = [name for name in names if by_name[name].response_code == OK]
    missing = [name for name in names if name not in there]
    if missing and not config.stream.create:
        return [bad("error", check, f"missing, and rabbitmq.stream.create is false: {named(missing)}", why)]
    what = f"ditto run will create {named(missing)}" if missing else f"{named(names)} exist"
    found = [ok(check, what, why), await _permissions(connection, there, has_to_create=bool(missing))]
    if config.stream.name in there:
        found.append(_copies(by_name[config.stream.name], delivery))
    return found


async def _permissions(connection: Connection, names: list[str], *, has_to_create: bool) -> Finding:
    check, why = "rabbitmq.permissions", "Ditto publishes to both streams, and reads them when it starts"
    for name in names:
        asked: tuple[tuple[str, Any, tuple[object, ...], Any], ...] = (
            ("write", schema.DeclarePublisher, (NAME, name), schema.DeletePublisher),
            ("read", schema.Subscribe, (name, schema.OffsetSpec(OffsetType.NEXT), 1, []), schema.Unsubscribe),
        )
        for right, request, fields, undo in asked:
            try:
                await connection.demand(f"{right} stream {name}", request, _NUMBER, *fields, stream=name)
            except DittoError as error:
                return failed(check, error)
            await connection.demand("give it up again", undo, _NUMBER)
    if has_to_create:
        return ok(check, "whether the user may create streams (configure) shows when ditto run does it", why)
    return ok(check, "the user may write and read both streams", why)


def _copies(stream: schema.StreamMetadata, delivery: Delivery) -> Finding:
    check = "rabbitmq.copies"
    why = (
        "RabbitMQ does not wait for the disk: it confirms what a majority of the copies has in its memory. Where their "
        "machines crash before it is written, what Ditto has confirmed to PostgreSQL is lost"
    )
    count = 1 + len(stream.replicas_refs)
    what = f"stream {stream.name} has {counted(count, 'copy', 'copies')}"
    if count > 1:
        return ok(check, what, why)
    if delivery.confirm_delay_s:
        return ok(check, f"{what}, and delivery.confirm_delay is {span(delivery.confirm_delay_s)}", why)
    return bad("warning", check, what, why, configuration=f"delivery: {{confirm_delay: {_CONFIRM_DELAY_S}s}}")


async def _exchange(config: RabbitMQ) -> list[Finding]:
    """There is no place to compare: the slot says where to begin."""
    connection = ExchangeConnection(config, lambda _error: None)
    name, check = config.exchange.name, "rabbitmq.exchange"
    why = "events are published there; what no queue gets stops Ditto"
    try:
        await connection.connect()
        found = [ok("rabbitmq.connect", f"connected to {connection.where}", "everything goes there")]
        found.append(_credentials(config))
        if await connection.exists():
            found.append(ok(check, f"exchange {name} exists", why))
        elif config.exchange.create:
            found.append(ok(check, f"ditto run will create exchange {name}", f"{why}: bind queues to it before"))
        else:
            found.append(
                bad("error", check, f"there is no exchange {name}, and rabbitmq.exchange.create is false", why)
            )
    except DittoError as error:
        return [failed("rabbitmq.connect", error)]
    finally:
        await connection.close()
    return found
