"""`ditto tail`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ditto import log
from ditto.cli.options import configuration, echo_json, effective, examples, say
from ditto.log import mask_secrets
from ditto.printable_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ditto.errors import SinkError
    from ditto.sinks.base import Reader, ReadMessage, Start


@click.command(
    epilog=examples(
        "ditto tail --config ditto.yaml",
        "ditto tail --table 'shop.*' --action update --action delete",
        "ditto tail --since 5m --no-follow --json | jq .data",
    )
)
@configuration("nats.url", "nats.stream", "events.prefix")
@click.option(
    "-t",
    "--table",
    "tables",
    multiple=True,
    metavar="TABLE",
    envvar="DITTO_TAIL_TABLE",
    show_envvar=True,
    help="Only this table: table, schema.table, or a glob of either. May be repeated.  [default: all]",
)
@click.option(
    "-a",
    "--action",
    "actions",
    multiple=True,
    metavar="ACTION",
    envvar="DITTO_TAIL_ACTION",
    show_envvar=True,
    help="Only insert, update, delete, truncate, read (rows of snapshots, and their steps) or message (logical "
    "messages, and rows of an outbox). May be repeated.  "
    "[default: all]",
)
@click.option(
    "--since",
    metavar="TIME",
    envvar="DITTO_TAIL_SINCE",
    show_envvar=True,
    help="Begin with what was stored then: a duration before now such as 5m, or 2026-01-02T15:04:05Z (UTC where it "
    "has no offset); in a file, what was committed then.  [default: now; with --no-follow the first message]",
)
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    envvar="DITTO_TAIL_LAST",
    show_envvar=True,
    help="Begin N messages before the end, checkpoints counted, a group as one.  [default: at the end]",
)
@click.option(
    "--no-follow",
    is_flag=True,
    envvar="DITTO_TAIL_NO_FOLLOW",
    show_envvar=True,
    help="End with the last message there is now.  [default: wait for more]",
)
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    envvar="DITTO_TAIL_JSON",
    show_envvar=True,
    help="Print each event as it is stored, one a line.  [default: as text, long values cut off]",
)
def tail(
    tables: tuple[str, ...],
    actions: tuple[str, ...],
    since: str | None,
    last: int | None,
    no_follow: bool,
    is_json: bool,
    **options: Any,
) -> None:
    """Print the events of the stream, or of the file, as they are stored, until interrupted.

    Changes nothing, and Ditto does not notice. Which columns are a table's key is in the event (events.metadata:
    primary_key), or learnt from earlier ones; until then it is id, or the first column. What an update changed is
    only known where the table has REPLICA IDENTITY FULL; elsewhere all its columns are printed. The events of a group
    (events.group) are printed one by one. READ is a row that a snapshot found in the table, SNAPSHOT says how far a
    snapshot is, MESSAGE is a logical message or a row of an outbox. When the server or the file goes away it waits
    for it.
    """
    from ditto.formats.snapshot_events import read_control_event  # noqa: PLC0415
    from ditto.formats.stored_events import as_json, read_event  # noqa: PLC0415 -- not all commands need this
    from ditto.formats.stored_groups import events_in  # noqa: PLC0415
    from ditto.sinks.base import MessageKind, Start  # noqa: PLC0415
    from ditto.sinks.choose import choose_reader  # noqa: PLC0415
    from ditto.tail.choose import choose, read_since  # noqa: PLC0415
    from ditto.tail.messages import read_message  # noqa: PLC0415
    from ditto.tail.show import Writer  # noqa: PLC0415

    choice = choose(tables, actions)
    begin = None if since is None else read_since(since)
    if begin is not None and last is not None:
        raise click.UsageError("--since and --last exclude each other")
    config = effective(**options)
    reader = choose_reader(config)
    log.configure(config.log.level, config.log.format)
    is_terminal = sys.stdout.isatty()
    writer = Writer(
        is_coloured=is_terminal and not os.environ.get("NO_COLOR"),
        width=(lambda: shutil.get_terminal_size().columns) if is_terminal else None,
    )

    def write(payload: bytes, headers: Mapping[str, str], text: Callable[[], str]) -> None:
        if is_json:
            echo_json(_line(as_json(payload, headers.get)))
        else:
            click.echo(text())

    def on_message(found: ReadMessage) -> None:
        if found.kind in {MessageKind.CHECKPOINT, MessageKind.DESCRIPTION}:
            return
        if (message := read_message(found)) is not None:
            if choice.takes_message(message.table):
                if is_json:
                    echo_json(message.as_json())
                else:
                    click.echo(writer.message_text(message))
            return
        try:
            for each in events_in(found.payload, found.headers.get):
                on_event(each, found.headers)
        except msgspec.MsgspecError:
            say(f"{reader.noun} {found.number} is not an event of Ditto")

    def on_event(payload: bytes, headers: Mapping[str, str]) -> None:
        if (control := read_control_event(payload)) is not None:
            if choice.takes_control(control.snapshot.schema, control.snapshot.table):
                write(payload, headers, lambda: writer.control_text(control))
            return
        event = read_event(payload, headers.get)
        if choice.takes(event.schema, event.table, event.action):
            write(payload, headers, lambda: writer.text(event))

    def on_lost(error: SinkError) -> None:
        say(f"{printable(mask_secrets(error.message))}; waiting for it to come back")

    asyncio.run(_follow(reader, Start(begin, last), on_message, on_lost, is_endless=not no_follow))


async def _follow(
    reader: Reader,
    start: Start,
    on_message: Callable[[ReadMessage], None],
    on_lost: Callable[[SinkError], None],
    *,
    is_endless: bool,
) -> None:
    try:
        async with aclosing(reader.follow(start, is_endless=is_endless, on_lost=on_lost)) as found:
            async for messages in found:
                for message in messages:
                    on_message(message)
    finally:
        await reader.close()


def _line(payload: bytes) -> bytes:
    """The event on one line: a column of type json may have line ends between its tokens."""
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")  # within a text they are escaped
