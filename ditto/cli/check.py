"""`ditto check`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ditto import log
from ditto.cli.options import configuration, echo_json, effective, examples
from ditto.log import mask_secrets
from ditto.printable import printable, printable_lines

if TYPE_CHECKING:
    from ditto.check.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
_PLACES = {
    "psql": "in psql",
    "shell": "in a shell",
    "configuration": "in the configuration",
    "nats-server": "in nats-server's configuration",
}


@click.command(
    epilog=examples("ditto check --config ditto.yaml", "ditto check --json | jq -r '.[] | select(.mend) | .mend'")
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
    help="Print a JSON list of all findings.  [default: a table]",
)
@click.pass_context
def check(ctx: click.Context, /, nats_monitor: str | None, is_json: bool, **options: Any) -> None:
    """Look at both ends and at the configuration, and say what is wrong and how to mend it.

    Changes nothing. Exits with 1 when there is an error; warnings are no errors.
    """
    config = effective(**options)
    log.configure(config.log.level, config.log.format)
    from ditto.check.nats import monitor_of  # noqa: PLC0415 -- other commands need not import both clients
    from ditto.check.run import run_checks  # noqa: PLC0415

    found = asyncio.run(run_checks(config, monitor_url=nats_monitor or monitor_of(config.nats)))
    findings = [_masked(finding) for finding in found]
    if is_json:
        echo_json(msgspec.json.format(msgspec.json.encode(findings), indent=2))
    else:
        _print(findings)
    if any(finding.level == "error" for finding in findings):
        ctx.exit(1)


def _masked(finding: Finding) -> Finding:
    """Servers' and libraries' words are in it."""
    return msgspec.structs.replace(
        finding,
        what=mask_secrets(finding.what),
        why=mask_secrets(finding.why),
        mend=finding.mend and mask_secrets(finding.mend),
    )


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "Check", "Found", "Why it matters"):
        table.add_column(name)
    for finding in findings:
        style = _STYLES[finding.level]
        table.add_row(
            f"[{style}]{finding.level}[/]",
            finding.check,
            escape(printable(finding.what)),
            f"[dim]{escape(printable(finding.why))}[/]",
        )
    console = Console(highlight=False)
    console.print(table)
    # Not in the table, whose cells are broken into lines: these are to be copied as they stand.
    for finding in findings:
        if finding.mend:
            console.print(f"\n[{_STYLES[finding.level]}]{finding.check}[/], {_PLACES[finding.mend_in or 'shell']}:")
            for line in printable_lines(finding.mend).split("\n"):
                console.print(f"  {line}", markup=False, soft_wrap=True)
    count = {level: sum(finding.level == level for finding in findings) for level in _STYLES}
    console.print(f"\n{count['ok']} ok, {count['warning']} warnings, {count['error']} errors")
