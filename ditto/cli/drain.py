"""`ditto drain`."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from ditto.cli.fleet_options import fleet_options, open_client
from ditto.cli.options import examples, say, seconds
from ditto.errors import NotPossibleNow
from ditto.printable_text import printable
from ditto.units import counted

_POLL_S: Final = 0.5


@click.command(epilog=examples("ditto drain n1", "ditto drain n1 --timeout 0s"))
@click.argument("node", metavar="NODE")
@fleet_options
@click.option(
    "--timeout",
    default="60s",
    envvar="DITTO_DRAIN_TIMEOUT",
    show_envvar=True,
    help="How long to wait until it runs no pipeline any more; 0s: do not wait.  [default: 60s]",
)
def drain(node: str, timeout: str, **options: Any) -> None:
    """Let a node hand its pipelines over to the others, one after the other: before its machine is shut down.

    The node takes no pipelines until its process is started again, and goes on answering. SIGTERM drains it too, and
    ends it.
    """
    from urllib.parse import quote  # noqa: PLC0415 -- with the others

    from ditto.api.fleet.documents import Draining, Nodes  # noqa: PLC0415 -- other commands need not import it

    wait_s = seconds(timeout, "--timeout")
    with open_client(**options) as client:
        done = client.ask("POST", f"/v1/nodes/{quote(node, safe='')}/drain", Draining)
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
