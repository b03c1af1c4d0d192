"""`ditto snapshot`: ask for the rows that are in the tables already, and see how far the reading is."""

from __future__ import annotations

import asyncio
import shlex
import time
from typing import TYPE_CHECKING, Any, Final

import click

from ditto import log
from ditto.cli.options import configuration, effective, examples, say, seconds
from ditto.errors import ConfigError
from ditto.printable_text import printable
from ditto.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ditto.check.snapshot_request import Readable
    from ditto.config import Config
    from ditto.monitoring.status_document import Snapshots
    from ditto.source.snapshot_requests import Verb

_POLL_S: Final = 0.2

_url = click.option(
    "--url",
    envvar="DITTO_STATUS_URL",
    show_envvar=True,
    metavar="URL",
    help="Ask the Ditto that listens there.  [default: the one of http.listen]",
)


@click.group(epilog=examples("ditto snapshot start --config ditto.yaml --table public.trades"))
def snapshot() -> None:
    """Store the rows that are in the tables already, among the changes, while these go on.

    A request is a message in PostgreSQL's WAL: it takes effect once, when Ditto comes to it, and survives restarts.
    """


@snapshot.command(
    epilog=examples(
        "ditto snapshot start --config ditto.yaml",
        "ditto snapshot start --table public.trades --table 'audit.*' --max-rows-per-second 5000",
        "ditto snapshot start --table public.trades --where 'id>1000'",
    )
)
@configuration("postgres.dsn", "postgres.slot", "postgres.publication")
@click.option(
    "-t",
    "--table",
    "tables",
    multiple=True,
    metavar="TABLE",
    envvar="DITTO_SNAPSHOTS_TABLE",
    show_envvar=True,
    help="Read this table: table, schema.table, or a glob of either. May be repeated.  [default: every selected table]",
)
@click.option(
    "--where",
    metavar="SQL",
    envvar="DITTO_SNAPSHOTS_WHERE",
    show_envvar=True,
    help="Read only rows for which this holds, of exactly one table: comparisons of columns.  [default: all rows]",
)
@click.option(
    "--max-rows-per-second",
    "max_rows_per_s",
    type=click.IntRange(min=0),
    metavar="N",
    envvar="DITTO_SNAPSHOTS_MAX_ROWS_PER_SECOND",
    show_envvar=True,
    help="Read no faster; 0 for no limit.  [default: snapshot.max_rows_per_s]",
)
def start(tables: tuple[str, ...], where: str | None, max_rows_per_s: int | None, **options: Any) -> None:
    """Ask for a snapshot, and print the id of its run.

    Each table has to exist, to be published, and to be selected by events.tables. The rows come as READ events between
    the changes; a consumer stores them as it stores an INSERT or an UPDATE.
    """
    from ditto.check.snapshot_request import check_request  # noqa: PLC0415 -- other commands need not import all this
    from ditto.source.snapshot_requests import new_run, open_writable, send, start_body  # noqa: PLC0415

    config = _config(options)
    run = new_run()

    async def ask() -> Readable:
        async with open_writable(config.postgres.dsn) as control:
            checked = await check_request(control, config, tables, where=where)
            slot = config.postgres.slot
            body = start_body(checked.names, slot=slot, run=run, where=where, max_rows_per_s=max_rows_per_s)
            await send(control, body)
        return checked

    checked = asyncio.run(ask())
    count = len(checked.tables)
    click.echo(run)
    slot = printable(config.postgres.slot)
    if checked.is_slot_held:
        say(f"{counted(count, 'table')} to read: Ditto begins when it comes to this request.")
    else:
        say(
            f"{counted(count, 'table')} to read. Nobody reads slot {slot} at the moment: it begins when ditto run does."
        )
    for each in checked.unreadable:
        say(f"  warning: {printable(each.what)}; with that role the running Ditto leaves out what it may not read")
        for line in (each.fix or "").splitlines():
            say(f"    {printable(line)}")
    if config.http.listen is None:
        tail = "" if config.keeps_nothing else "ditto tail shows what comes; "
        say(f"  {tail}how far it is, a Ditto with http.listen tells")
    else:
        say(f"  to watch it: ditto snapshot status {run} --watch{_again(options)}")


@snapshot.command(
    epilog=examples(
        "ditto snapshot status --config ditto.yaml --watch", "ditto snapshot status --json | jq '.runs[].state'"
    )
)
@click.argument("run", metavar="[RUN]", required=False)
@configuration("postgres.slot")
@_url
@click.option(
    "--watch",
    is_flag=True,
    envvar="DITTO_SNAPSHOTS_WATCH",
    show_envvar=True,
    help="Go on until the run has ended, or those that have not ended now.  [default: off]",
)
@click.option(
    "--every",
    default="1s",
    envvar="DITTO_SNAPSHOTS_EVERY",
    show_envvar=True,
    help="How often, with --watch.  [default: 1s]",
)
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    envvar="DITTO_SNAPSHOTS_JSON",
    show_envvar=True,
    help="Print one JSON object a line.  [default: a table]",
)
def status(run: str | None, url: str | None, watch: bool, every: str, is_json: bool, **options: Any) -> None:
    """Print what the snapshots do: how many rows are stored, how many are left, and for how long.

    A running Ditto is asked over HTTP (`http.listen`): the one that streams knows. Exits with 1 when the run, or one of
    those that are watched, has failed or was cancelled.
    """
    from ditto.cli.snapshot_display import print_once  # noqa: PLC0415
    from ditto.cli.snapshot_watch import Watch, open_screen  # noqa: PLC0415

    period_s = seconds(every, "--every")
    config = _config(options)
    look = _looker(config, url)
    if watch:
        is_well = Watch(look, open_screen(is_json=is_json), period_s=period_s, again=_again(options)).follow(run)
    else:
        is_well = print_once(look(), run, is_json=is_json)
    if not is_well:
        raise click.exceptions.Exit(1)


def _changing(verb: Verb, done: str, about: str) -> click.Command:
    """A command that changes runs."""

    def change(run: str | None, url: str | None, **options: Any) -> None:
        _change(verb, done, run, url, options)

    change.__doc__ = about
    decorated = _url(configuration("postgres.dsn")(change))
    argument = click.argument("run", metavar="[RUN]", required=False)
    line = f"ditto snapshot {verb} 20260102-030405-a1b2c3 --config ditto.yaml"
    return snapshot.command(verb, epilog=examples(line))(argument(decorated))


pause = _changing(
    "pause",
    "pauses",
    """Pause a run, or all that there are.

    The run keeps its place, also over restarts, until it is resumed. Changes go on.
    """,
)
resume = _changing(
    "resume",
    "resumes",
    """Let a run go on after the last row that is stored, or all that are paused.""",
)
cancel = _changing(
    "cancel",
    "cancels",
    """End a run, or all that there are.

    The rows that it has stored stay in the stream. Nothing else changes.
    """,
)


def _change(verb: Verb, done: str, run: str | None, url: str | None, options: dict[str, Any]) -> None:
    from ditto.monitoring.snapshot_changes import GRACE_S, why_not  # noqa: PLC0415
    from ditto.source.snapshot_requests import RUN_ID, request, verb_body  # noqa: PLC0415

    config = _config(options)
    if run is not None and not RUN_ID.fullmatch(run):
        raise ConfigError(f"{run!r} is not the id of a run", hint="ditto snapshot status lists the runs")
    if run is not None:
        deadline = time.monotonic() + GRACE_S
        while True:
            known = _known(config, url)
            objection = why_not(known, verb, run) if known is not None and known.knows_all else None
            if objection is None or not objection.is_unknown or time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)  # somebody may just have asked for it
        if objection is not None:
            raise ConfigError(objection.what, hint="ditto snapshot status lists the runs")
    lsn = asyncio.run(request(config.postgres.dsn, verb_body(verb, run or "", slot=config.postgres.slot)))
    what = f"run {run}" if run else "all runs"
    say(f"The request is in the WAL, before {lsn}: Ditto {done} {what} when it comes to it.")


def _config(options: dict[str, Any]) -> Config:
    config = effective(**options)
    log.configure("error", config.log.format)
    return config


def _again(options: dict[str, Any]) -> str:
    """The option for the same configuration, for another command."""
    file = options.get("config_file")
    return f" --config {shlex.quote(str(file))}" if file else ""


def _looker(config: Config, url: str | None) -> Callable[[], Snapshots]:
    """A function that asks a running Ditto. Raises ConfigError where there is no address."""
    from ditto.monitoring.status_client import own_url, snapshots_over_http  # noqa: PLC0415

    if url is None and config.http.listen is None:
        raise ConfigError(
            "no address to ask for the snapshots: http.listen is not set",
            hint="set http.listen (127.0.0.1:8080, say) for ditto run and for this, or give --url; "
            "without it, ditto tail prints the events of the snapshots",
            key="http.listen",
        )
    address = url if url is not None else own_url(config.http.listen or "")
    return lambda: snapshots_over_http(address, token=config.http.token)


def _known(config: Config, url: str | None) -> Snapshots | None:
    """The runs that a running Ditto knows; None where none can be asked."""
    from ditto.monitoring.status_client import NoAnswer  # noqa: PLC0415

    if url is None and config.http.listen is None:
        return None
    try:
        return _looker(config, url)()
    except NoAnswer:
        if url is not None:
            raise
        return None
