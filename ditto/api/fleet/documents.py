"""What the routes of pipelines take and answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from ditto.check.finding import Finding
from ditto.fleet.document import shown
from ditto.fleet.records import Action, Problem, Stored
from ditto.fleet.status import NodeSummary, PipelineSummary
from ditto.monitoring.status_document import Status

Effect: TypeAlias = Literal["nothing", "reload", "restart", "new slot", "start", "stop"]


Unassigned: TypeAlias = Annotated[
    Problem | None,
    Meta(description="Why no live node would run it now: it is `unassigned` until one can. Null where one would."),
]


Notes: TypeAlias = Annotated[
    list[str],
    Meta(description="What to know of the document: keys without effect, no PostgreSQL, a slot that others read, too."),
]

CutOffBy: TypeAlias = Annotated[
    Problem | None, Meta(description="What keeps the node from the control plane; null where nothing does.")
]


class Change(Struct, frozen=True, kw_only=True):
    """What a change does to the pipeline that runs."""

    effect: Annotated[
        Effect,
        Meta(
            description="`start`: the pipeline is new, is resumed, or its entry could not be read; `stop`: it is "
            "paused; `reload`: taken between two transactions; `restart`: the pipeline ends its session and begins "
            "another; `new slot`: it would store elsewhere or read another slot."
        ),
    ]
    keys: Annotated[list[str], Meta(description="The keys that have another value.")] = []


class PipelineDocument(Struct, frozen=True, kw_only=True):
    """A pipeline as it is kept."""

    name: str
    revision: Annotated[int, Meta(description="The `ETag` of the answer, too.")]
    document: Annotated[
        dict[str, Any],
        Meta(
            description="Its configuration, as in a file. For the role `read` with `***` in place of what "
            "`ditto config show` masks, such as the path of `webhook.url`."
        ),
    ]
    paused: bool
    action: Annotated[Action, Meta(description="How this revision came to be.")]
    by: Annotated[str, Meta(description="Who made it.")]
    at: Annotated[str, Meta(description="When, RFC 3339 in UTC.")]

    @classmethod
    def of(cls, stored: Stored, *, is_whole: bool) -> PipelineDocument:
        """That of a revision; `is_whole`: for somebody who may change it."""
        record = stored.record
        return cls(
            name=stored.name,
            revision=stored.revision,
            document=record.document if is_whole else shown(record.document),
            paused=record.paused,
            action=record.action,
            by=record.by,
            at=record.at,
        )


class Applied(Struct, frozen=True, kw_only=True):
    """What has become of a change."""

    name: str
    revision: Annotated[
        int | None,
        Meta(description="The new one, or the same where nothing has changed; null for a new pipeline with `dry_run`."),
    ]
    change: Change
    dry_run: Annotated[bool, Meta(description="Nothing was stored.")] = False
    notes: Notes = []
    unassigned: Unassigned = None


class Listing(Struct, frozen=True, kw_only=True):
    """All pipelines of the fleet."""

    pipelines: list[PipelineSummary]
    answered_by: Annotated[str, Meta(description="The node that answers.")] = ""
    is_current: Annotated[
        bool, Meta(description="False while the node is cut off from the control plane: all is as of when that began.")
    ] = True
    cut_off_by: CutOffBy = None


class PipelineStatus(Struct, frozen=True, kw_only=True):
    """How one pipeline is."""

    summary: PipelineSummary
    status: Annotated[
        Status | None, Meta(description="All that `ditto status` shows; null where no node runs it at the moment.")
    ]
    reason: Annotated[str | None, Meta(description="Why `status` is null.")] = None


class Revision(Struct, frozen=True, kw_only=True):
    """One entry of the history."""

    revision: int
    action: Action
    by: str
    at: str
    paused: bool
    change: Annotated[
        Change | None, Meta(description="Against the revision before; null where that is not kept any more.")
    ]


class History(Struct, frozen=True, kw_only=True):
    """The revisions that are kept, the newest first."""

    name: str
    revisions: list[Revision]


class Rollback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a rollback."""

    revision: Annotated[int, Meta(ge=1, le=2**53, description="The revision whose document is to be used again.")]


class Checked(Struct, frozen=True, kw_only=True):
    """What the checks have found."""

    name: str
    is_good: Annotated[bool, Meta(description="No finding is an error.")]
    change: Change
    findings: Annotated[list[Finding], Meta(description="Those of `ditto check`, in an order in which one reads.")]
    notes: Notes = []


class Done(Struct, frozen=True, kw_only=True):
    """What has become of it. The node that runs the pipeline follows within a few seconds: its status tells."""

    name: str
    revision: int
    changed: bool
    """False where it was so already."""
    paused: bool
    """Whether it is paused now: a restart leaves it so."""
    unassigned: Unassigned = None


class Deleted(Struct, frozen=True, kw_only=True):
    """What has become of a pipeline that was deleted."""

    name: str
    slot: str
    slot_dropped: Annotated[bool, Meta(description="False, too, where there was no slot to drop.")]
    kept: Annotated[
        list[str],
        Meta(
            description="What is still there, and how to remove it, a sentence each; and what may be there, where a "
            "server could not be asked."
        ),
    ]


class Nodes(Struct, frozen=True, kw_only=True):
    """All nodes of the fleet."""

    nodes: list[NodeSummary]
    answered_by: Annotated[str, Meta(description="The node that answers.")]
    is_current: Annotated[
        bool, Meta(description="False while the node is cut off from the control plane: all is as of when that began.")
    ]
    cut_off_by: CutOffBy = None


class Draining(Struct, frozen=True, kw_only=True):
    """The node hands its pipelines over, and takes no others."""

    node: str
    pipelines: Annotated[int, Meta(description="How many it has now.")]
    unplaced: Annotated[
        list[str],
        Meta(description="Those that run nowhere afterwards, until another node has their labels, and room."),
    ] = []
    dry_run: Annotated[bool, Meta(description="Nothing was done.")] = False
