"""`ditto drain`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from ditto.cli.fleet_options import confirm, fleet_options, open_client, yes_option
from ditto.cli.options import examples, say, seconds
from ditto.errors import NotPossibleNow
from ditto.printable_text import indented, printable
from ditto.units import counted

if TYPE_CHECKING:
    from ditto.api_client.client import FleetClient

_POLL_S: Final = 0.5


@click.command(epilog=examples("ditto drain n1", "ditto drain n1 --timeout 0s --yes"))
@click.argument("node", metavar="NODE")
@fleet_options
@click.option(
    "--timeout",
    default="60s",
    envvar="DITTO_DRAIN_TIMEOUT",
    show_envvar=True,
    help="How long to wait until it runs no pipeline any more; 0s: do not wait.  [default: 60s]",
)
@yes_option("DITTO_DRAIN_YES")
def drain(node: str, timeout: str, is_sure: bool, **options: Any) -> None:
    """Let a node hand its pipelines over to the others, one after the other: before its machine is shut down.

    Where no other node has the labels of some, or room, they would run nowhere: the command names them and asks.

    The node takes no pipelines until its process is started again, and goes on answering. SIGTERM drains it too, and
    ends it.
    """
    from ditto.api.fleet.documents import Draining, Nodes  # noqa: PLC0415 -- other commands need not import it

    wait_s, path = seconds(timeout, "--timeout"), f"/v1/nodes/{quote(node, safe='')}/drain"
    with open_client(**options) as client:
        planned = client.ask("POST", path, Draining, params={"dry_run": True})
        if planned.unplaced:
            click.echo(f"No other node can take {_named(planned.unplaced)}: nothing would run there.")
            if not confirm(
                f"Drain node {printable(node)}?",
                is_sure=is_sure,
                what=f"let {counted(len(planned.unplaced), 'pipeline')} run nowhere",
            ):
                say("The node goes on.")
                raise click.exceptions.Exit(1)
        done = client.ask("POST", path, Draining)
        say(f"Node {printable(node)} drains: it runs {counted(done.pipelines, 'pipeline')}.")
        deadline = time.monotonic() + wait_s
        left = done.pipelines
        while left and wait_s:
            found = next((each for each in client.get("/v1/nodes", Nodes).nodes if each.name == node), None)
            left = 0 if found is None else found.pipelines
            if left and time.monotonic() > deadline:
                raise NotPossibleNow(
                    f"node {node} runs {counted(left, 'pipeline')} still, after {timeout}",
                    hint="ditto pipelines status says which: is there another node with their labels, and room?",
                )
            time.sleep(_POLL_S if left else 0)
        if wait_s:
            say(f"Node {printable(node)} runs no pipeline any more.")
        if done.unplaced:
            _say_what_runs_nowhere(client, done.unplaced)


def _say_what_runs_nowhere(client: FleetClient, names: list[str]) -> None:
    """With the reasons that the fleet has by now."""
    from ditto.api.fleet.documents import Listing  # noqa: PLC0415 -- other commands need not import it

    reasons: dict[tuple[str, str | None], list[str]] = {}
    for each in client.get("/v1/pipelines", Listing).pipelines:
        if each.name in names and each.state == "unassigned":
            hint = None if each.error is None else each.error.hint
            reasons.setdefault((each.reason, hint), []).append(each.name)
    for (reason, hint), found in reasons.items():
        say(f"{_named(found)} {'runs' if len(found) == 1 else 'run'} nowhere now: {printable(reason)}.")
        if hint:
            say(f"  hint: {indented(hint)}")


def _named(names: list[str]) -> str:
    return f"{'pipeline' if len(names) == 1 else 'the pipelines'} {', '.join(map(printable, names))}"
