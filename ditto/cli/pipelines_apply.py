"""`ditto pipelines apply`: the difference first, then a question, then the changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from ditto.cli.fleet_options import confirm, fleet_options, open_client, yes_option
from ditto.cli.options import examples, say
from ditto.cli.show import show
from ditto.errors import ConfigError, DittoError
from ditto.log import mask_secrets
from ditto.printable_text import indented, printable
from ditto.units import counted

if TYPE_CHECKING:
    from ditto.api.fleet.documents import Applied, Deleted
    from ditto.api_client.client import FleetClient
    from ditto.api_client.plan import Plan, Step
    from ditto.fleet.records import Problem

_STYLES = {"+": "green", "-": "red"}
_EFFECTS = {
    "start": "is new, and starts",
    "nothing": "changes, which has no effect on what runs",
    "reload": "takes the change between two transactions (reload)",
    "restart": "ends its session and begins another (restart)",
    "new slot": "would store elsewhere or read another slot: it begins anew there, and events between are missing "
    "(new slot)",
}
NEW_SLOT = "new slot"
_REPLACED = "has an entry that cannot be read, which is replaced; it starts"


@click.command(
    epilog=examples(
        "ditto pipelines apply -f shop.yaml",
        "ditto pipelines apply -f pipelines/ --prune --dry-run",
    )
)
@fleet_options
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE|DIR",
    envvar="DITTO_PIPELINES_APPLY_FILE",
    help="A configuration as ditto run takes it, a directory of them, or - for YAML on standard input.  [env var: "
    "DITTO_PIPELINES_APPLY_FILE; default: none]",
)
@click.option(
    "--prune",
    is_flag=True,
    envvar="DITTO_PIPELINES_APPLY_PRUNE",
    show_envvar=True,
    help="Delete the pipelines of the fleet that are not in the directory.  [default: they stay]",
)
@click.option(
    "--check",
    "checks",
    is_flag=True,
    envvar="DITTO_PIPELINES_APPLY_CHECK",
    show_envvar=True,
    help="Let a node look at the servers as ditto check does, and apply nothing where there is an error.  "
    "[default: only the documents are checked]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    envvar="DITTO_PIPELINES_APPLY_DRY_RUN",
    show_envvar=True,
    help="Print the difference, and change nothing.  [default: apply it]",
)
@click.option(
    "-R",
    "--recursive",
    is_flag=True,
    envvar="DITTO_PIPELINES_APPLY_RECURSIVE",
    show_envvar=True,
    help="Read the subdirectories of the directory, too.  [default: they are not read, which is said]",
)
@yes_option("DITTO_PIPELINES_APPLY_YES")
def apply(path: Path, prune: bool, checks: bool, dry_run: bool, recursive: bool, is_sure: bool, **options: Any) -> None:
    """Create and change pipelines, as files say.

    A node checks every document first: where one is wrong, nothing is applied. Then the difference is printed, and what
    each change does to the pipeline. On a terminal there is a question. Without one changes are applied, and only
    deletions (--prune), and pipelines that would read a new slot or store elsewhere, need --yes. A pipeline that
    somebody else has changed meanwhile is left alone. References (${NAME}, file:/path) are passed on as they are: the
    node fills them in.

    A pipeline is called as its file says (name), or like the file. One that no live node can run is applied, too, with
    a warning: it is unassigned until a node can.
    """
    from ditto.api_client.files import (  # noqa: PLC0415 -- other commands need not import it
        STANDARD_INPUT,
        files_below,
        read_documents,
    )
    from ditto.api_client.plan import make_plan  # noqa: PLC0415 -- the same

    if prune and (path.is_file() or path == STANDARD_INPUT):
        raise click.UsageError("--prune goes with a directory: it deletes every pipeline that has no file there")
    documents = read_documents(path, is_recursive=recursive)
    if documents.unread:
        say(f"{files_below(documents.unread)} not read: --recursive reads them")
    with open_client(**options) as client:
        plan = make_plan(client, documents.files, prunes=prune, checks=checks)
        faults = [*documents.faults, *plan.faults]
        if faults:
            raise _refused(faults)
        _print(plan)
        if dry_run or not plan.changes:
            return
        losses = _losses(plan)
        if losses or sys.stdin.isatty():
            question = f"Apply {counted(len(plan.changes), 'change')}?"
            if not confirm(question, is_sure=is_sure, what=losses):
                say("Nothing is applied.")
                raise click.exceptions.Exit(1)
        _carry_out(client, plan)


def _refused(faults: list[DittoError]) -> DittoError:
    """All but the last are printed; that one ends the command, and says that nothing is applied."""
    for each in faults[:-1]:
        say(f"ditto: error: {indented(mask_secrets(each.message))}")
        if each.hint:
            say(f"  hint: {indented(mask_secrets(each.hint))}")
    last = faults[-1]
    exit_code = next((each for each in faults if each.exit_code != 1), last)
    kind = ConfigError if exit_code.exit_code == 2 else type(exit_code)
    return kind(f"{last.message}; nothing is applied", hint=last.hint)


def _losses(plan: Plan) -> str:
    """What nobody applies unasked: what is deleted, and what would lose events."""
    deleted = sum(each.after is None for each in plan.changes)
    moved = [each.name for each in plan.changes if each.applied is not None and each.applied.change.effect == NEW_SLOT]
    return " and ".join(
        part
        for part in (
            f"delete {counted(deleted, 'pipeline')}" if deleted else "",
            f"let {', '.join(map(printable, moved))} read a new slot or store elsewhere" if moved else "",
        )
        if part
    )


def _print(plan: Plan) -> None:
    for step in plan.changes:
        before = None if step.before is None else step.before.document
        effect = _REPLACED if step.is_unreadable and step.after is not None else None
        print_change(step.name, before, step.after, step.applied, effect=effect)
    for step in plan.steps:
        if step.applied is not None:
            print_notes(step.name, step.applied)
    same = len(plan.steps) - len(plan.changes)
    if same:
        click.echo(f"{counted(same, 'pipeline')} unchanged")


def print_notes(name: str, applied: Applied) -> None:
    """What a node has to say about the document."""
    for note in applied.notes:
        click.echo(f"note: {printable(name)}: {printable(note)}")
    if applied.unassigned is not None:
        click.echo(f"warning: {printable(name)} would run nowhere: {printable(applied.unassigned.message)}")
        if applied.unassigned.hint:
            click.echo(f"  hint: {indented(applied.unassigned.hint)}")


def print_change(
    name: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    applied: Applied | None,
    *,
    effect: str | None = None,
) -> None:
    """What becomes of a pipeline, and the lines that differ."""
    from ditto.api_client.difference import differences  # noqa: PLC0415 -- other commands need not import it

    if effect is None:
        effect = "is deleted; its slot and what is stored stay" if applied is None else _EFFECTS[applied.change.effect]
    show(Text.assemble((printable(name), "bold"), f" {effect}"))
    for line in differences(before, after):
        show(Text(f"  {printable(line)}", style=_STYLES.get(line[:1], "")))


def _carry_out(client: FleetClient, plan: Plan) -> None:
    from ditto.api_client.plan import carry_out  # noqa: PLC0415 -- other commands need not import it

    for done, step in enumerate(plan.changes):
        try:
            answer = carry_out(client, step)
        except DittoError as error:
            rest = len(plan.changes) - done
            say(f"{counted(done, 'change')} applied, {rest} not")
            raise type(error)(f"{printable(step.name)}: {error.message}", hint=error.hint) from error
        say(_said(step, answer))
        for each in getattr(answer, "kept", ()):
            say(f"  {printable(each)}")


def _said(step: Step, answer: Applied | Deleted) -> str:
    is_new = step.before is None and not step.is_unreadable
    what = "created" if is_new else "deleted" if step.after is None else "changed"
    return f"{printable(step.name)}: {what}{nowhere(getattr(answer, 'unassigned', None))}"


def nowhere(problem: Problem | None) -> str:
    """The end of a line about a pipeline that no live node can run."""
    return "" if problem is None else f"; it is unassigned: {printable(problem.message)}"
