"""Whose a sink is: the record that a sink keeps beside its messages, and which pipeline may take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ditto.errors import StreamOwned
from ditto.sinks.base import PipelineId

if TYPE_CHECKING:
    from collections.abc import Mapping

encode_owner: Final = msgspec.json.Encoder().encode
"""The record."""
decode_owner: Final = msgspec.json.Decoder(PipelineId).decode
"""What the record says. Raises msgspec.MsgspecError."""


def claimed_by(pipeline: PipelineId, before: PipelineId | None) -> PipelineId:
    """The owner once `pipeline` has the sink: after pg_upgrade, ids of the former cluster are its own too."""
    if before is None:
        return pipeline
    return msgspec.structs.replace(pipeline, former_systems=(*before.former_systems, before.system_identifier))


def with_source(owner: PipelineId | None, pipeline: PipelineId) -> PipelineId:
    """The owner, filled from now on from the timeline and the publication of `pipeline`."""
    if owner is None:
        return pipeline
    return msgspec.structs.replace(owner, timeline=pipeline.timeline, publication=pipeline.publication)


def check_owner(
    owner: PipelineId | None,
    claimant: PipelineId,
    *,
    accepts_gap: bool,
    things: str,
    settings: str,
    context: Mapping[str, str],
) -> None:
    """Raise StreamOwned where the sink belongs to another slot or another database cluster.

    `things` names what is owned (`the topics of prefix shop`), `settings` the keys that would give others.
    """
    if owner is None or (owner.system_identifier, owner.slot) == (claimant.system_identifier, claimant.slot):
        return
    if owner.slot == claimant.slot and accepts_gap:
        return  # where the positions go on is seen when it is decided where to begin
    kind = things.split()[1]
    raise StreamOwned(
        f"{things} belong to slot {owner.slot} of the database cluster {owner.system_identifier}, not to slot "
        f"{claimant.slot} of {claimant.system_identifier}",
        hint=f"give each slot {kind} of its own: another {settings} for this one"
        if owner.slot != claimant.slot
        else "after pg_upgrade, which keeps the slot, start once with delivery.on_gap: continue; otherwise give each "
        f"cluster {kind} of its own: another {settings} for this one",
        **context,
    )
