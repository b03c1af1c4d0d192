"""`ditto reload`."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import click

from ditto import log
from ditto.cli.options import configuration, effective, examples, say, seconds
from ditto.errors import ConfigError, DittoError
from ditto.printable_text import printable
from ditto.units import counted

if TYPE_CHECKING:
    from ditto.monitoring.configuration_status import ConfigurationStatus

_POLL_S: Final = 0.2


@click.command(
    epilog=examples(
        "ditto reload --config ditto.yaml",
        "ditto reload --url http://localhost:8080",
        "ditto reload --config ditto.yaml --pid $MAINPID",
    )
)
@configuration("postgres.slot")
@click.option(
    "--url",
    envvar="DITTO_STATUS_URL",
    show_envvar=True,
    metavar="URL",
    help="Ask the Ditto that listens there.  [default: the one of http.listen]",
)
@click.option(
    "--pid",
    type=click.IntRange(min=2),
    envvar="DITTO_RELOAD_PID",
    show_envvar=True,
    help="Send SIGHUP to this process where http.listen is not set: the log tells what becomes of it.  [default: none]",
)
@click.option(
    "--timeout",
    "timeout",
    default="30s",
    envvar="DITTO_RELOAD_TIMEOUT",
    show_envvar=True,
    help="How long to wait until the new configuration is used.  [default: 30s]",
)
def reload(url: str | None, pid: int | None, timeout: str, **options: Any) -> None:
    """Let a running Ditto use the `events` section as its configuration says it now, without a restart.

    Ditto reads its own file again, checks everything that a start checks, and changes between two transactions. All or
    nothing: what does not do changes nothing, and keys that only a restart can change are named. The configuration
    that is given here says where that Ditto listens, and is checked before.
    """
    wait_s = seconds(timeout, "--timeout")
    config = effective(**options)
    log.configure("error", config.log.format)
    if url is None and config.http.listen is None:
        if pid is None:
            raise ConfigError(
                "no running Ditto to ask: http.listen is not set",
                hint="set http.listen for ditto run and for this; or give --url, or the process: --pid PID",
                key="http.listen",
            )
        _signal(pid)
        return
    from ditto.monitoring.status_client import own_url, reload_over_http  # noqa: PLC0415 -- brings the HTTP client

    address = url if url is not None else own_url(config.http.listen or "")
    done = reload_over_http(address, token=config.http.token)
    if done.state == "unchanged":
        say(f"Nothing has changed: revision {done.revision} stays.")
        return
    if done.state == "applied":
        say(f"Revision {done.revision} is used now: {_keys(done.changed)}.")
        return
    _wait(address, config.http.token, done.revision, wait_s)


def _wait(address: str, token: str | None, revision: int, timeout_s: float) -> None:
    """Until another revision is used."""
    from ditto.monitoring.status_client import over_http  # noqa: PLC0415

    deadline = time.monotonic() + timeout_s
    before = _found(over_http(address, token=token).process)
    while True:
        found = _found(over_http(address, token=token).process)
        if found is not None and found.revision != revision:
            say(f"Revision {found.revision} is used now.")
            return
        if found is not None and before is not None and found.refused_at not in {None, before.refused_at}:
            raise DittoError(found.refusal or "it was refused", hint="the log of that Ditto tells more")
        if time.monotonic() > deadline:
            what = "It is used" if found is not None and found.is_pending else "It is still being checked, and used"
            say(f"{what} when the transaction ends that is being stored: ditto status shows it.")
            return
        time.sleep(_POLL_S)


def _found(process: Any) -> ConfigurationStatus | None:
    found: ConfigurationStatus | None = None if process is None else process.configuration
    return found


def _keys(changed: list[str]) -> str:
    return printable(", ".join(changed)) if len(changed) < 8 else f"{counted(len(changed), 'key')} changed"


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError as error:
        raise ConfigError(f"there is no process {pid}") from error
    except PermissionError as error:
        raise ConfigError(f"process {pid} belongs to somebody else", hint="run this as the user of Ditto") from error
    say(f"SIGHUP is sent to {pid}: reload.applied or reload.refused in its log tells what has become of it.")
