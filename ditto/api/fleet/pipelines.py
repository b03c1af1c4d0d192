"""The routes of pipelines: look, apply, delete, history, rollback."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import Body, QueryParameter

from ditto.api.fleet.access import ROLE, audit, identity_of
from ditto.api.fleet.checking import notes_on
from ditto.api.fleet.deletion import remove
from ditto.api.fleet.documents import (
    Applied,
    Change,
    Deleted,
    Effect,
    History,
    Listing,
    PipelineDocument,
    Revision,
    Rollback,
)
from ditto.api.fleet.preconditions import IfMatch, IfNoneMatch, Precondition, etag
from ditto.api.fleet.responses import ETAG, Name, fails, succeeds
from ditto.config.fleet_values import is_name
from ditto.errors import PipelineUnknown
from ditto.fleet.document import Document, canonical, difference
from ditto.fleet.interface import FleetNode
from ditto.fleet.records import Record, Stored
from ditto.monitoring.timestamps import rfc3339

MAX_BODY_BYTES: Final = 512 * 1024
"""Half of what a message of NATS may have by default: an entry of the bucket has more than the document."""

DocumentBody = Annotated[
    dict[str, Any],
    Body(
        title="Document",
        description="The configuration of the pipeline, as `ditto config schema` describes it, with references "
        "(`${NAME}`, `file:/path`) in place of secrets.",
    ),
]
RollbackBody = Annotated[Rollback, Body()]
DryRun = Annotated[bool, QueryParameter(name="dry_run", description="Check everything and store nothing.")]


_EFFECTS: Final[Mapping[str, Effect]] = {"pause": "stop", "resume": "start", "restart": "restart"}
"""Of actions that leave the document as it is."""


def pipeline_handlers(node: FleetNode) -> list[Any]:
    """The handlers."""

    def answer(applied: Applied, document: Document, *, is_new: bool = False) -> Response[Applied]:
        applied = msgspec.structs.replace(applied, unassigned=node.view.obstacle(applied.name, document))
        headers = {} if applied.revision is None else etag(applied.revision)
        return Response(applied, status_code=201 if is_new else 200, headers=headers)

    @get(
        "/v1/pipelines",
        summary="All pipelines of the fleet",
        opt={ROLE: "read"},
        responses=fails(503),
    )
    async def list_pipelines() -> Listing:
        """Each with its node, state, lag and last error, as of now: a change that was answered, by whichever node, is
        in it. While the control plane is away, as of when it was lost (`is_current`).
        """
        await node.catch_up()
        view = node.view
        return Listing(
            pipelines=view.pipelines(),
            answered_by=node.name,
            is_current=view.is_current,
            cut_off_by=node.cut_off_by,
        )

    @get(
        "/v1/pipelines/{name:str}",
        summary="A pipeline as it is to be",
        opt={ROLE: "read"},
        response_headers=ETAG,
        responses=fails(404, 409, 503),
    )
    async def read_pipeline(
        request: Request[Any, Any, Any],
        name: Name,
        revision: Annotated[
            int | None, QueryParameter(ge=1, le=2**53, description="One of the history; by default the newest.")
        ] = None,
    ) -> Response[PipelineDocument]:
        """Its document and its revision. Secrets are references in it. With the role `read` it has `***` in place of
        what `ditto config show` masks.
        """
        found = await known(node, name)
        if revision is not None and revision != found.revision:
            found = _revision(name, revision, await node.store.history(name))
        is_whole = identity_of(request).may("operate")
        return Response(PipelineDocument.of(found, is_whole=is_whole), headers=etag(found.revision))

    @put(
        "/v1/pipelines/{name:str}",
        summary="Create or change a pipeline",
        opt={ROLE: "admin"},
        request_max_body_size=MAX_BODY_BYTES,
        status_code=200,
        response_headers=ETAG,
        responses=succeeds(201, Applied, "The pipeline is new.") | fails(412, 422, 428, 503),
    )
    async def apply(
        request: Request[Any, Any, Any],
        name: Name,
        data: DocumentBody,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
        dry_run: DryRun = False,
    ) -> Response[Applied]:
        """Says what the change does. `If-Match` with the revision that is changed, or `If-None-Match: *` for a new
        pipeline, is required, except with `dry_run`. The same document again makes no new revision. An entry that
        cannot be read is replaced.
        """
        notes = await notes_on(node, name, data)
        data.pop("name", None)  # it is the pipeline's own, and said by the path
        found = await node.store.find(name)
        Precondition(if_match, if_none_match).check(name, found, is_required=not dry_run)
        former = found.record.document if found is not None and found.is_readable else None
        change = await asyncio.to_thread(change_of, former, data, node)
        revision = None if found is None else found.revision
        if not dry_run and (former is None or canonical(former) != canonical(data)):
            before = Record(document={}) if found is None else found.record
            revision = await store_record(
                node, request, name, msgspec.structs.replace(before, document=data), action="apply", after=revision
            )
            audit(request, "apply", pipeline=name, revision=revision, effect=change.effect, keys=change.keys)
        applied = Applied(name=name, revision=revision, change=change, dry_run=dry_run, notes=notes)
        return answer(applied, data, is_new=found is None and not dry_run)

    @delete(
        "/v1/pipelines/{name:str}",
        summary="Delete a pipeline",
        opt={ROLE: "admin"},
        status_code=200,
        responses=fails(404, 409, 412, 428, 503),
    )
    async def delete_pipeline(
        request: Request[Any, Any, Any],
        name: Name,
        if_match: IfMatch = None,
        drop_slot: Annotated[
            bool,
            QueryParameter(
                description="Drop its replication slot, too: changes that are not stored yet are lost. The pipeline is "
                "paused as soon as PostgreSQL answers, and stays so where the slot cannot be dropped then."
            ),
        ] = False,
    ) -> Deleted:
        """The node that runs it stops it. Slot, publication and what is stored stay, unless `drop_slot` is given: the
        answer says which, and how to remove them. An entry that cannot be read is deleted, too, without `drop_slot`.
        """
        found = there(name, await node.store.find(name) if is_name(name) else None)
        Precondition(if_match).check(name, found, is_required=True)
        done = await remove(node, found, drops_slot=drop_slot, by=identity_of(request).name)
        audit(request, "delete", pipeline=name, revision=found.revision, slot_dropped=done.slot_dropped)
        return done

    @get(
        "/v1/pipelines/{name:str}/history",
        summary="The revisions of a pipeline",
        opt={ROLE: "read"},
        responses=fails(404, 409, 503),
    )
    async def history(name: Name) -> History:
        """The last ones, at most 64, the newest first: who changed which keys, and when."""
        await known(node, name)
        kept = await node.store.history(name)
        # Large documents take seconds to compare, and the node has to be heard of meanwhile.
        return History(name=name, revisions=await asyncio.to_thread(_entries, kept, node))

    @post(
        "/v1/pipelines/{name:str}/rollback",
        summary="Use an earlier document again",
        opt={ROLE: "admin"},
        status_code=200,
        response_headers=ETAG,
        request_max_body_size=MAX_BODY_BYTES,
        responses=fails(404, 409, 412, 422, 428, 503),
    )
    async def rollback(
        request: Request[Any, Any, Any],
        name: Name,
        data: RollbackBody,
        if_match: IfMatch = None,
        dry_run: DryRun = False,
    ) -> Response[Applied]:
        """A new revision with the document of an earlier one. Whether the pipeline is paused stays as it is."""
        found = await known(node, name)
        Precondition(if_match).check(name, found, is_required=not dry_run)
        earlier = _revision(name, data.revision, await node.store.history(name))
        notes = await notes_on(node, name, earlier.record.document)
        change = await asyncio.to_thread(change_of, found.record.document, earlier.record.document, node)
        revision = found.revision
        if not dry_run and canonical(earlier.record.document) != canonical(found.record.document):
            record = msgspec.structs.replace(found.record, document=earlier.record.document)
            revision = await store_record(node, request, name, record, action="rollback", after=revision)
            audit(request, "rollback", pipeline=name, revision=revision, to=data.revision, effect=change.effect)
        applied = Applied(name=name, revision=revision, change=change, dry_run=dry_run, notes=notes)
        return answer(applied, earlier.record.document)

    return [list_pipelines, read_pipeline, apply, delete_pipeline, history, rollback]


async def known(node: FleetNode, name: str) -> Stored:
    """The newest revision. Raises PipelineUnknown, and PipelineUnreadable."""
    return there(name, await node.store.get(name) if is_name(name) else None)


def there(name: str, found: Stored | None) -> Stored:
    """What was found. Raises PipelineUnknown."""
    if found is None:
        raise PipelineUnknown(f"there is no pipeline {name[:63]!r}", hint="ditto pipelines list shows all names")
    return found


async def store_record(
    node: FleetNode, request: Request[Any, Any, Any], name: str, record: Record, *, action: Any, after: int | None
) -> int:
    """Store the next revision. Raises RevisionConflict."""
    by, at = identity_of(request).name, rfc3339(time.time())
    stored = await node.store.put(name, msgspec.structs.replace(record, action=action, by=by, at=at), after=after)
    return stored.revision


def change_of(before: Document | None, after: Document, node: FleetNode) -> Change:
    """What the change does to the pipeline."""
    if before is None:
        return Change(effect="start", keys=[])
    found = difference(before, after, os.environ)
    return Change(effect=found.effect, keys=found.keys)


def _entries(kept: list[Stored], node: FleetNode) -> list[Revision]:
    """The newest first."""
    return [_entry(each, before, node) for each, before in zip(kept, [None, *kept], strict=False)][::-1]


def _entry(stored: Stored, before: Stored | None, node: FleetNode) -> Revision:
    record = stored.record
    change: Change | None = None
    if stored.is_first:
        change = Change(effect="start")
    elif before is not None and record.action in _EFFECTS:
        change = Change(effect="nothing" if record.paused and before.record.paused else _EFFECTS[record.action])
    elif before is not None:
        change = change_of(before.record.document, record.document, node)
    return Revision(
        revision=stored.revision,
        action=record.action,
        by=record.by,
        at=record.at,
        paused=record.paused,
        change=change,
    )


def _revision(name: str, revision: int, kept: list[Stored]) -> Stored:
    for each in kept:
        if each.revision == revision:
            return each
    raise PipelineUnknown(
        f"pipeline {name} has no revision {revision}, or it is not kept any more",
        hint=f"ditto pipelines history {name} shows those that are kept",
    )
