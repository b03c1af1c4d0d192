"""The checks of a RabbitMQ node, of the streams on it, and of both ends together."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from rstream import schema
from rstream.constants import OffsetType

from ditto.check.finding import Finding, bad, failed, named, ok, unseen
from ditto.check.place import compare_sink
from ditto.errors import DittoError
from ditto.routing.router import Router
from ditto.sinks.rabbitmq.connecting import connect
from ditto.sinks.rabbitmq.connection import Connection
from ditto.sinks.rabbitmq.exchange_connection import ExchangeConnection
from ditto.sinks.rabbitmq.server import is_readable_on_the_way
from ditto.sinks.rabbitmq.server_errors import DENIED, OK, PRECONDITION, alarm
from ditto.sinks.rabbitmq.sink import RabbitMQSink
from ditto.sinks.rabbitmq.streams import creation
from ditto.sinks.rabbitmq.writer import NAME
from ditto.units import counted, size, span

if TYPE_CHECKING:
    from ditto.check.source import Source
    from ditto.config import Config, Delivery, RabbitMQ
    from ditto.sinks.rabbitmq.access import Right

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
        found += await _exchange(config, rabbitmq, source)
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
    missing = [name for name in names if by_name[name].response_code != OK]
    if missing and not config.stream.create:
        what = f"missing, and rabbitmq.stream.create is false: {named(missing)}"
        command = creation(config.stream, missing, connection.access.vhost)
        found = [bad("error", check, what, why, command=command)]
    else:
        what = f"ditto run will create {named(missing)}" if missing else f"{named(names)} exist"
        found = [ok(check, what, why)]
    found.append(await _permissions(connection, names, missing, creates=config.stream.create))
    if config.stream.name not in missing:
        found.append(_copies(by_name[config.stream.name], delivery))
    return found


async def _permissions(connection: Connection, names: list[str], missing: list[str], *, creates: bool) -> Finding:
    """Where a stream is missing, the server looks at the right before it sees that; and before it refuses settings
    that no stream can have. Nothing is changed.
    """
    check, why = "rabbitmq.permissions", "Ditto creates both streams, publishes to them, and reads them when it starts"
    impossible = [schema.Property("initial-cluster-size", "0"), schema.Property("queue-leader-locator", "none")]
    offset = schema.OffsetSpec(OffsetType.NEXT)
    lacking = []
    for name in names:
        asked: list[tuple[Right, Any, tuple[object, ...], Any]] = [
            ("write", schema.DeclarePublisher, (_NUMBER, NAME, name), schema.DeletePublisher),
            ("read", schema.Subscribe, (_NUMBER, name, offset, 1, []), schema.Unsubscribe),
        ]
        if name in missing and creates:
            asked.append(("configure", schema.Create, (name, impossible), None))
        for right, request, fields, undo in asked:
            answer = await connection.ask(f"see the right to {right} stream {name}", request, *fields)
            if answer.response_code == DENIED:
                lacking.append(f"{right} stream {name}")
            elif answer.response_code == OK and undo is not None:
                await connection.demand("give it up again", undo, _NUMBER)
            elif answer.response_code == PRECONDITION and name not in missing:
                return failed(check, alarm(connection.where, "disk space"))
    access = connection.access
    if lacking:
        what = f"user {access.user} has no permission in virtual host {access.vhost} to {', '.join(lacking)}"
        then = f"{why}. The command takes away what else the user may do there"
        return bad("error", check, what, then, command=access.command)
    rights = "create, write and read" if missing and creates else "write and read"
    return ok(check, f"the user may {rights} both streams", why)


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


async def _exchange(config: Config, rabbitmq: RabbitMQ, source: Source | None) -> list[Finding]:
    """There is no place to compare: the slot says where to begin."""
    connection = ExchangeConnection(rabbitmq, lambda _error: None)
    name, check = rabbitmq.exchange.name, "rabbitmq.exchange"
    why = "events are published there; what no queue gets stops Ditto"
    try:
        await connection.connect()
        found = [ok("rabbitmq.connect", f"connected to {connection.where}", "everything goes there")]
        found.append(_credentials(rabbitmq))
        exists = await connection.exists()
        if exists:
            found.append(ok(check, f"exchange {name} exists", why))
        elif rabbitmq.exchange.create:
            found.append(ok(check, f"ditto run will create exchange {name}", f"{why}: bind queues to it before"))
        else:
            what = f"there is no exchange {name}, and rabbitmq.exchange.create is false"
            return [*found, bad("error", check, what, why, command=connection.creation)]
        check, rights = "rabbitmq.permissions", "write to" if exists else "create, and write to,"
        denied = await connection.missing_rights(_route(config, source), exists=exists)
        found.append(failed(check, denied) if denied else ok(check, f"the user may {rights} exchange {name}", why))
    except DittoError as error:
        return [failed("rabbitmq.connect", error)]
    finally:
        await connection.close()
    return found


def _route(config: Config, source: Source | None) -> str:
    """That of one of the tables."""
    router = Router(config.events, database=source.database if source else "")
    routes: set[str] = set()
    for table in source.tables if source else ():
        with suppress(DittoError):  # the checks of rules say it
            routes |= router.routes(*table).names
    return min(routes, default=config.events.prefix)
