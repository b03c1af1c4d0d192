"""`ditto wait`."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from ditto import log
from ditto.cli.options import configuration, effective, examples, seconds
from ditto.errors import ConfigError
from ditto.lsn import format_lsn, parse_lsn


@click.command(
    epilog=examples(
        "ditto wait \"$(psql -XAtc 'SELECT pg_current_wal_lsn()' shop)\" --config ditto.yaml",
        "ditto wait 0/1A2B3C4 --timeout 5s",
    )
)
@click.argument("lsn", metavar="LSN")
@configuration("postgres.dsn", "nats.url", "nats.stream")
@click.option(
    "--timeout",
    "timeout",
    default="30s",
    envvar="DITTO_WAIT_TIMEOUT",
    show_envvar=True,
    help="How long to wait, such as 500ms, 5s or 2m.  [default: 30s]",
)
def wait(lsn: str, timeout: str, **options: Any) -> None:
    """Wait until the sink holds everything that was committed before LSN.

    Ask PostgreSQL for pg_current_wal_lsn() after a COMMIT, and when this returns the events of that transaction are
    stored. Exits with 1 when the time is over.
    """
    try:
        wanted_lsn = parse_lsn(lsn)
    except ValueError:
        raise ConfigError(f"{lsn!r} is not an LSN", hint="an LSN looks like 16/B374D848") from None
    timeout_s = seconds(timeout, "--timeout")
    config = effective(**options)
    log.configure(config.log.level, config.log.format)
    from ditto.monitoring.wait import wait as wait_for  # noqa: PLC0415 -- other commands need not import both clients

    tail = asyncio.run(wait_for(config, wanted_lsn, timeout_s=timeout_s))
    click.echo(format_lsn(tail.commit_lsn))
