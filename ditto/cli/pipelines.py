"""`ditto pipelines`: the pipelines of a fleet, through the API of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec
from rich.table import Table
from rich.text import Text

from ditto.cli.fleet_options import confirm, fleet_options, json_option, open_client, yes_option
from ditto.cli.options import echo_json, examples, say
from ditto.cli.pipelines_apply import apply, nowhere, print_change, print_notes
from ditto.cli.pipelines_status import list_pipelines, status
from ditto.cli.show import show
from ditto.config import SINKS
from ditto.errors import ConfigError, PipelineUnreadable
from ditto.printable_text import indented, printable

if TYPE_CHECKING:
    from ditto.api.fleet.documents import History, PipelineDocument
    from ditto.api_client.client import FleetClient


@click.group(epilog=examples("ditto pipelines apply -f pipelines/", "ditto pipelines status --watch"))
def pipelines() -> None:
    """Look at the pipelines of a fleet, and change them: ask a node of `ditto serve`."""


pipelines.add_command(apply)
pipelines.add_command(list_pipelines)
pipelines.add_command(status)

_name = click.argument("name", metavar="NAME")
_names = click.argument("names", metavar="NAME...", nargs=-1, required=True)


@pipelines.command(epilog=examples("ditto pipelines get shop > shop.yaml", "ditto pipelines get shop --revision 7"))
@_name
@fleet_options
@click.option(
    "--revision",
    type=click.IntRange(min=1),
    envvar="DITTO_PIPELINES_GET_REVISION",
    show_envvar=True,
    metavar="N",
    help="That of the history.  [default: the newest]",
)
@json_option("DITTO_PIPELINES_GET_JSON")
def get(name: str, revision: int | None, is_json: bool, **options: Any) -> None:
    """Print the document of a pipeline: a file that can be applied again."""
    from ditto.api_client.difference import as_yaml  # noqa: PLC0415 -- other commands need not import it

    with open_client(**options) as client:
        found = _read(client, name, revision)
    if is_json:
        echo_json(msgspec.json.encode(found))
    else:
        click.echo(as_yaml({"name": name, **found.document}), nl=False)


def _act(names: tuple[str, ...], verb: str, done: str, already: str, options: dict[str, Any]) -> None:
    from ditto.api.fleet.documents import Done  # noqa: PLC0415 -- other commands need not import it
    from ditto.api_client.client import path_of  # noqa: PLC0415 -- the same

    with open_client(**options) as client:
        for name in names:
            found = client.ask("POST", path_of(name, verb), Done)
            stays = verb == "restart" and found.paused
            told = "is paused, and stays so" if stays else done if found.changed else already
            say(f"{printable(name)}: {told} (revision {found.revision}){nowhere(found.unassigned)}")
            if found.unassigned is not None and found.unassigned.hint:
                say(f"  hint: {indented(found.unassigned.hint)}")


@pipelines.command(epilog=examples("ditto pipelines pause shop"))
@_names
@fleet_options
def pause(names: tuple[str, ...], **options: Any) -> None:
    """Let pipelines stop, until they are resumed.

    What has been read is stored. The slot stays, and PostgreSQL keeps WAL for it meanwhile: look at its size.
    """
    _act(names, "pause", "is paused", "was paused already", options)


@pipelines.command(epilog=examples("ditto pipelines resume shop orders"))
@_names
@fleet_options
def resume(names: tuple[str, ...], **options: Any) -> None:
    """Let pipelines go on that are paused, or that have failed."""
    _act(names, "resume", "goes on", "is neither paused nor failed: nothing has changed", options)


@pipelines.command(epilog=examples("ditto pipelines restart shop"))
@_names
@fleet_options
def restart(names: tuple[str, ...], **options: Any) -> None:
    """End the sessions of pipelines, and begin others: with what their references say now.

    A pipeline that is paused stays so.
    """
    _act(names, "restart", "begins anew", "stays as it is", options)


@pipelines.command(epilog=examples("ditto pipelines delete shop", "ditto pipelines delete shop --drop-slot --yes"))
@_name
@fleet_options
@click.option(
    "--drop-slot",
    is_flag=True,
    envvar="DITTO_PIPELINES_DELETE_DROP_SLOT",
    show_envvar=True,
    help="Drop its replication slot, too: changes that are not stored yet are lost.  [default: the slot stays]",
)
@yes_option("DITTO_PIPELINES_DELETE_YES")
def delete(name: str, drop_slot: bool, is_sure: bool, **options: Any) -> None:
    """Delete a pipeline: its node stops it, and nobody runs it any more.

    Publication and stream stay, and the slot does without --drop-slot: what stays is printed, and how to remove it.
    With --drop-slot the pipeline is paused as soon as PostgreSQL answers, and stays paused where the slot cannot be
    dropped then.
    """
    from ditto.api.fleet.documents import Deleted  # noqa: PLC0415 -- other commands need not import it
    from ditto.api_client.client import path_of  # noqa: PLC0415 -- the same

    with open_client(**options) as client:
        revision: int | Literal["*"]
        try:
            found = _read(client, name)
            revision, about = found.revision, f"revision {found.revision}"
            becomes = _becomes(found.document, drops_slot=drop_slot)
        except PipelineUnreadable:
            revision, about = "*", "whose entry cannot be read"
            becomes = "Its replication slot, its publication and what is stored stay."
        if not is_sure:
            click.echo(f"Deleting pipeline {printable(name)}, {about}.")
            click.echo(printable(becomes))
        if not confirm("Delete it?", is_sure=is_sure, what="delete the pipeline"):
            say("The pipeline stays.")
            raise click.exceptions.Exit(1)
        params = {"drop_slot": True} if drop_slot else {}
        done = client.ask("DELETE", path_of(name), Deleted, params=params, revision=revision)
    say(f"The pipeline {printable(name)} is gone.")
    if done.slot_dropped:
        say(f"The slot {printable(done.slot)} is dropped.")
    elif drop_slot:
        say(f"There was no slot {printable(done.slot)}.")
    if not done.kept:
        say(
            "Nothing of it stays: it has made no slot, no publication and stored nothing, or somebody has removed them."
        )
    for each in done.kept:
        say(f"  {printable(each)}")


def _becomes(document: dict[str, Any], *, drops_slot: bool) -> str:
    """What becomes of what the pipeline leaves behind, by the names in its document."""
    postgres, nats = (_section(document, name) for name in ("postgres", "nats"))
    slot, publication = (postgres.get(name, "ditto") for name in ("slot", "publication"))
    other = next((name for name in SINKS[1:] if name in document), None)
    stored = f"stream {nats.get('stream', 'DITTO')}" if other is None else f"what is stored by {other}"
    if drops_slot:
        return (
            f"The replication slot {slot} is dropped, if there is one: changes that are not stored yet are lost, and a "
            f"new pipeline that stores in the same place would have a gap. As far as there are the publication "
            f"{publication} and {stored}, they stay."
        )
    return (
        f"As far as there are the replication slot {slot}, the publication {publication} and {stored}, they stay: "
        "PostgreSQL keeps WAL for a slot until it is dropped (--drop-slot)."
    )


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


@pipelines.command(epilog=examples("ditto pipelines history shop"))
@_name
@fleet_options
@json_option("DITTO_PIPELINES_HISTORY_JSON")
def history(name: str, is_json: bool, **options: Any) -> None:
    """Print the revisions of a pipeline that are kept, the newest first: who changed what, and when."""
    with open_client(**options) as client:
        found = _history(client, name)
    if is_json:
        echo_json(msgspec.json.encode(found))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("REVISION", "AT", "BY", "ACTION", "EFFECT", "KEYS"):
        table.add_column(column, overflow="fold")
    for each in found.revisions:
        effect, keys = ("-", "") if each.change is None else (each.change.effect, ", ".join(each.change.keys))
        row = (str(each.revision), each.at, each.by, each.action, effect, keys)
        table.add_row(*(Text(printable(text)) for text in row))
    show(table)


@pipelines.command(epilog=examples("ditto pipelines rollback shop", "ditto pipelines rollback shop --to 7 --yes"))
@_name
@fleet_options
@click.option(
    "--to",
    "revision",
    type=click.IntRange(min=1),
    envvar="DITTO_PIPELINES_ROLLBACK_TO",
    show_envvar=True,
    metavar="N",
    help="The revision whose document is used again.  [default: the last one with another document]",
)
@yes_option("DITTO_PIPELINES_ROLLBACK_YES")
def rollback(name: str, revision: int | None, is_sure: bool, **options: Any) -> None:
    """Use an earlier document of a pipeline again, as a new revision. Shows the difference, and asks."""
    from ditto.api.fleet.documents import Applied  # noqa: PLC0415 -- other commands need not import it
    from ditto.api_client.client import path_of  # noqa: PLC0415 -- the same

    with open_client(**options) as client:
        now = _read(client, name)
        to = revision if revision is not None else _before(_history(client, name))
        earlier = _read(client, name, to)
        path, body = path_of(name, "rollback"), {"revision": to}
        planned = client.ask("POST", path, Applied, body=body, params={"dry_run": True})
        if now.document == earlier.document:
            say(f"Revision {to} has the same document as revision {now.revision}: nothing has changed.")
            return
        print_change(name, now.document, earlier.document, planned)
        print_notes(name, planned)
        if not confirm(f"Use revision {to} again?", is_sure=is_sure, what="roll the pipeline back"):
            say("The pipeline stays as it is.")
            raise click.exceptions.Exit(1)
        done = client.ask("POST", path, Applied, body=body, revision=now.revision)
    end = nowhere(done.unassigned)
    say(f"{printable(name)}: revision {done.revision} has the document of revision {to}{end}.")


def _read(client: FleetClient, name: str, revision: int | None = None) -> PipelineDocument:
    from ditto.api.fleet.documents import PipelineDocument  # noqa: PLC0415 -- other commands need not import it
    from ditto.api_client.client import path_of  # noqa: PLC0415 -- the same

    return client.get(path_of(name), PipelineDocument, params={} if revision is None else {"revision": revision})


def _history(client: FleetClient, name: str) -> History:
    from ditto.api.fleet.documents import History  # noqa: PLC0415 -- other commands need not import it
    from ditto.api_client.client import path_of  # noqa: PLC0415 -- the same

    return client.get(path_of(name, "history"), History)


def _before(history: History) -> int:
    """The newest revision with another document than the last one."""
    for later, earlier in zip(history.revisions, history.revisions[1:], strict=False):
        if later.change is None or later.action not in {"apply", "rollback"}:
            continue
        if later.change.effect == "start":
            break
        if later.change.effect != "nothing":
            return earlier.revision
    raise ConfigError(
        f"pipeline {history.name} has had no other document, as far as its history goes",
        hint=f"ditto pipelines history {history.name} shows its revisions; name one: --to N",
    )
