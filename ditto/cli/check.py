"""`ditto check`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.padding import Padding
from rich.text import Text

from ditto import log
from ditto.cli.options import configuration, echo_json, effective, examples
from ditto.cli.show import show
from ditto.log import mask_secrets
from ditto.printable_text import printable, printable_lines
from ditto.units import counted

if TYPE_CHECKING:
    from ditto.check.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
_SHOWN_FIRST = ("error", "warning")
_INDENT = (0, 0, 0, 2)
_PLACES = {
    "psql": "in psql",
    "shell": "in a shell",
    "configuration": "in the configuration (one section of each name: join it to the one that is there)",
    "nats-server": "in nats-server's configuration",
}


@click.command(
    epilog=examples("ditto check --config ditto.yaml", "ditto check --json | jq -r '.[] | select(.fix) | .fix'")
)
@configuration()
@click.option(
    "--nats-monitor",
    metavar="URL",
    envvar="DITTO_CHECK_NATS_MONITOR",
    help="nats-server's monitoring endpoint, for sync_interval.  [default: port 8222 of the server; env var: "
    "DITTO_CHECK_NATS_MONITOR]",
)
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    envvar="DITTO_CHECK_JSON",
    show_envvar=True,
    help="Print a JSON list of all findings.  [default: text]",
)
@click.option(
    "--all",
    "shows_all",
    is_flag=True,
    envvar="DITTO_CHECK_ALL",
    show_envvar=True,
    help="Print what is as it should be, too.  [default: only what is wrong]",
)
@click.pass_context
def check(ctx: click.Context, /, nats_monitor: str | None, is_json: bool, shows_all: bool, **options: Any) -> None:
    """Look at both ends and at the configuration, and say what is wrong and how to fix it.

    Changes nothing. Exits with 1 when there is an error; warnings are no errors.
    """
    config = effective(**options)
    log.configure(config.log.level, config.log.format)
    from ditto.check.choose import usual_monitor  # noqa: PLC0415 -- other commands need not import both clients
    from ditto.check.run import run_checks  # noqa: PLC0415

    found = asyncio.run(run_checks(config, monitor_url=nats_monitor or usual_monitor(config)))
    findings = [_masked(finding) for finding in found]
    if is_json:
        echo_json(msgspec.json.format(msgspec.json.encode(findings), indent=2))
    else:
        _print(findings, shows_all=shows_all)
    if any(finding.level == "error" for finding in findings):
        ctx.exit(1)


def _masked(finding: Finding) -> Finding:
    """The finding without secrets: messages of servers and libraries are in it."""
    return msgspec.structs.replace(
        finding,
        what=mask_secrets(finding.what),
        why=mask_secrets(finding.why),
        fix=finding.fix and mask_secrets(finding.fix),
    )


def _print(findings: list[Finding], *, shows_all: bool) -> None:
    """Print the faults, the worst first; with `shows_all` also the findings without a fault; then the count of each."""
    for level in _SHOWN_FIRST if not shows_all else (*_SHOWN_FIRST, "ok"):
        for finding in findings:
            if finding.level == level:
                _print_finding(finding)
    count = {level: sum(finding.level == level for finding in findings) for level in _STYLES}
    rest = "" if shows_all or not count["ok"] else " (--all shows them too)"
    click.echo(f"{counted(count['error'], 'error')}, {counted(count['warning'], 'warning')}, {count['ok']} ok{rest}")


def _print_finding(finding: Finding) -> None:
    show(Text.assemble((finding.level, _STYLES[finding.level]), "  ", (finding.check, "bold")))
    show(Padding(Text(printable(finding.what)), _INDENT))
    show(Padding(Text(printable_lines(finding.why), style="dim"), _INDENT))
    if finding.fix:
        show(Padding(Text(f"{_PLACES[finding.fix_in or 'shell']}:"), _INDENT))
        # Not broken into lines: this is copied and entered.
        for line in printable_lines(finding.fix).split("\n"):
            click.echo(f"    {line}")
    click.echo()
