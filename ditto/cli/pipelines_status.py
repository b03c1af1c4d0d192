"""`ditto pipelines list` and `ditto pipelines status`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ditto.cli.fleet_options import age_of, fleet_options, json_option, open_client
from ditto.cli.options import echo_json, examples, say, seconds
from ditto.cli.show import show
from ditto.errors import ControlPlaneLost, NodeSilent, NodeStarting, NoServer
from ditto.printable_text import indented, printable
from ditto.units import counted, size, span

if TYPE_CHECKING:
    from ditto.api.fleet.documents import Listing, PipelineStatus
    from ditto.api_client.client import FleetClient
    from ditto.fleet.status import PipelineSummary

_STYLES = {
    "streaming": "green",
    "standby": "cyan",
    "failed": "bold red",
    "unassigned": "bold red",
    "paused": "yellow",
    "changing": "yellow",
}
_BAD = frozenset({"failed", "unassigned"})
_FIRST = ("failed", "unassigned", "waiting")
_LAST = ("paused", "standby", "streaming")
"""A screen may be too low for all pipelines: what needs somebody is at the top, what works at the bottom."""
_COLUMNS = ("PIPELINE", "STATE", "NODE", "LAG", "EVENTS/S", "RETAINED WAL", "REVISION", "SINK")


@click.command("list", epilog=examples("ditto pipelines list", "ditto pipelines list --json | jq '.pipelines[].name'"))
@fleet_options
@json_option("DITTO_PIPELINES_LIST_JSON")
def list_pipelines(is_json: bool, **options: Any) -> None:
    """Print all pipelines of the fleet: state, node, lag, throughput, retained WAL; and why some run nowhere."""
    with open_client(**options) as client:
        found = _all(client)
    if is_json:
        echo_json(msgspec.json.encode(found))
    else:
        stopped = [each for each in found.pipelines if each.state in _BAD]
        show(Group(_table(found.pipelines), *_errors(stopped), *_age(found)))


@click.command(
    epilog=examples("ditto pipelines status", "ditto pipelines status shop --watch", "ditto pipelines status --json")
)
@click.argument("name", metavar="[NAME]", required=False)
@fleet_options
@click.option(
    "--watch",
    is_flag=True,
    envvar="DITTO_PIPELINES_STATUS_WATCH",
    show_envvar=True,
    help="Go on until interrupted; a node that does not answer is waited for.  [default: off]",
)
@click.option(
    "--every",
    default="2s",
    envvar="DITTO_PIPELINES_STATUS_EVERY",
    show_envvar=True,
    help="How often, with --watch.  [default: 2s]",
)
@json_option("DITTO_PIPELINES_STATUS_JSON")
def status(name: str | None, watch: bool, every: str, is_json: bool, **options: Any) -> None:
    """Print how the pipelines are, with what is wrong and what to do about it; or all there is about one.

    Exits with 1 when one of them has failed, or no node can run it.
    """
    period_s = seconds(every, "--every")
    with open_client(**options) as client:
        look = _look_at_all(client, is_watched=watch) if name is None else _look_at_one(client, name)
        if watch:
            _watch(look, period_s, is_json=is_json)
            return
        document, shown, is_good = look()
        if is_json:
            echo_json(document)
        else:
            show(shown())
    if not is_good:
        raise click.exceptions.Exit(1)


_Look = Callable[[], tuple[bytes, Callable[[], RenderableType], bool]]
"""As JSON, for people, and whether all is well."""


def _look_at_all(client: FleetClient, *, is_watched: bool) -> _Look:
    has_screen = is_watched and Console().is_terminal

    def look() -> tuple[bytes, Callable[[], RenderableType], bool]:
        found = _all(client)
        is_good = not any(each.state in _BAD for each in found.pipelines)
        return msgspec.json.encode(found), lambda: _screen(found) if has_screen else _everything(found), is_good

    return look


def _look_at_one(client: FleetClient, name: str) -> _Look:
    from ditto.api.fleet.documents import PipelineStatus  # noqa: PLC0415 -- other commands need not import it
    from ditto.api_client.client import path_of  # noqa: PLC0415 -- the same

    def look() -> tuple[bytes, Callable[[], RenderableType], bool]:
        found = client.get(path_of(name, "status"), PipelineStatus)
        return msgspec.json.encode(found), lambda: _one(found), found.summary.state not in _BAD

    return look


def _watch(look: _Look, period_s: float, *, is_json: bool) -> None:
    """Until interrupted. Raises what the first look raises; later a fleet that does not answer is waited for."""
    console = Console(highlight=False)
    has_looked = is_lost = False
    with Live(console=console, auto_refresh=False) if console.is_terminal and not is_json else _Plain() as screen:
        while True:
            try:
                document, shown, _ = look()
                has_looked, is_lost = True, False
                if is_json:
                    echo_json(document)
                else:
                    screen.update(shown(), refresh=True)
            except (NoServer, ControlPlaneLost, NodeSilent, NodeStarting) as error:
                if not has_looked:
                    raise
                if not is_lost:
                    say(f"{printable(error.message)}; waiting for it to come back")
                is_lost = True
            time.sleep(period_s)


class _Plain:
    """Where no terminal is: each look below the one before."""

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def update(self, shown: RenderableType, *, refresh: bool) -> None:
        show(shown)


def _all(client: FleetClient) -> Listing:
    from ditto.api.fleet.documents import Listing  # noqa: PLC0415 -- other commands need not import it

    return client.get("/v1/pipelines", Listing)


def _table(pipelines: list[PipelineSummary]) -> RenderableType:
    if not pipelines:
        return Text("There is no pipeline: ditto pipelines apply -f FILE creates one.")
    table = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for each in pipelines:
        table.add_row(
            Text(printable(each.name), style="bold"),
            Text(printable(each.state), style=_STYLES.get(each.state, "")),
            Text(printable(each.node or "-")),
            "-" if each.lag_s is None else span(each.lag_s),
            "-" if each.events_per_s is None else f"{each.events_per_s:,.1f}",
            _retained(each),
            _revision(each),
            Text(printable(each.sink or "-")),
        )
    return table


def _retained(summary: PipelineSummary) -> str:
    if summary.retained_bytes is None:
        return "-"
    kept = size(summary.retained_bytes)
    return kept if summary.safe_bytes is None else f"{kept} of {size(summary.retained_bytes + summary.safe_bytes)}"


def _revision(summary: PipelineSummary) -> str:
    if summary.running_revision in {None, summary.revision}:
        return str(summary.revision)
    return f"{summary.revision} (runs with {summary.running_revision})"


def _everything(found: Listing) -> RenderableType:
    return Group(_table(found.pipelines), *_errors(found.pipelines), *_age(found))


def _screen(found: Listing) -> RenderableType:
    """How many are in which state, then those first that need somebody."""
    states = Counter(each.state for each in found.pipelines)
    counts = ", ".join(f"{states[state]:,} {printable(state)}" for state in sorted(states, key=_rank))
    pipelines = sorted(found.pipelines, key=lambda each: _rank(each.state))
    head = Text(f"{counted(len(pipelines), 'pipeline')}{': ' if counts else ''}{counts}", style="bold")
    return Group(*_age(found), head, _table(pipelines), *_errors(pipelines))


def _rank(state: str) -> int:
    """The others are between the first ones and the last ones."""
    order = (*_FIRST, "", *_LAST)
    return order.index(state) if state in order else len(_FIRST)


def _age(found: Listing) -> list[RenderableType]:
    """A line where the node does not know how it is now."""
    lines = age_of(found)
    return [Text(), *(Text(each, style="yellow") for each in lines)] if lines else []


def _errors(pipelines: list[PipelineSummary]) -> list[RenderableType]:
    """A paragraph for each pipeline that does not work."""
    lines: list[RenderableType] = []
    for each in pipelines:
        if each.error is None and each.state not in _BAD:
            continue
        message = each.reason if each.error is None else each.error.message
        lines += [Text(), Text.assemble((printable(each.name), "bold"), f" ({printable(each.state)})")]
        lines.append(Text(f"  {indented(message)}"))
        if each.error is not None and each.error.hint:
            lines.append(Text(f"  hint: {indented(each.error.hint)}"))
        if each.state == "failed" and each.node is not None:
            lines.append(Text(f"  then: ditto pipelines resume {printable(each.name)}"))
    return lines


def _one(found: PipelineStatus) -> RenderableType:
    from ditto.cli.status_table import status_table  # noqa: PLC0415 -- other commands need not import it

    parts: list[RenderableType] = [_table([found.summary]), *_errors([found.summary])]
    if found.status is not None:
        parts += [Text(), status_table(found.status, is_of_fleet=True)]
    elif found.reason and not _is_told(found.summary, found.reason):
        parts += [Text(), Text(printable(found.reason))]
    return Group(*parts)


def _is_told(summary: PipelineSummary, reason: str) -> bool:
    """Whether `_errors` has said it."""
    told = summary.reason if summary.error is None else summary.error.message
    return summary.state in _BAD and bool(told) and str(told) in reason
