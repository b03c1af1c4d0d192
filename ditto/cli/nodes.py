"""`ditto nodes`."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from rich.table import Table
from rich.text import Text

from ditto.cli.fleet_options import age_of, fleet_options, json_option, open_client
from ditto.cli.options import echo_json, examples, say
from ditto.cli.show import show
from ditto.printable_text import printable

_STYLES = {"live": "green", "draining": "yellow", "dead": "bold red"}


@click.command(epilog=examples("ditto nodes", "ditto nodes --json | jq '.nodes[].name'"))
@fleet_options
@json_option("DITTO_NODES_JSON")
def nodes(is_json: bool, **options: Any) -> None:
    """Print the nodes of the fleet: state, how many pipelines, labels, version, address."""
    from ditto.api.fleet.documents import Nodes  # noqa: PLC0415 -- other commands need not import it

    with open_client(**options) as client:
        found = client.get("/v1/nodes", Nodes)
    if is_json:
        echo_json(msgspec.json.encode(found))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("NODE", "STATE", "PIPELINES", "LABELS", "VERSION", "STARTED", "ADDRESS"):
        table.add_column(column, overflow="fold")
    for each in found.nodes:
        table.add_row(
            Text(printable(each.name), style="bold"),
            Text(printable(each.state), style=_STYLES.get(each.state, "")),
            f"{each.pipelines:,} of at most {each.max_pipelines:,}",
            Text(printable(", ".join(f"{name}={value}" for name, value in sorted(each.labels.items())) or "-")),
            Text(printable(each.version)),
            Text(printable(each.started)),
            Text(printable(each.api_url)),
        )
    show(table)
    for line in age_of(found):
        say(line)
