"""The stream's metadata that Ditto writes: the owner of the stream, and how far it was filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ditto.decoding.event_id import event_key
from ditto.formats.checkpoint import decode_checkpoint, encode_checkpoint
from ditto.lsn import Checkpoint, format_lsn, parse_lsn
from ditto.sinks.base import PipelineId

PREFIX: Final = "ditto."
_SYSTEM: Final = "ditto.system-identifier"
_SLOT: Final = "ditto.slot"
_EVENTS_PREFIX: Final = "ditto.prefix"
_START_LSN: Final = "ditto.start-lsn"
_TIMELINE: Final = "ditto.timeline"
_PUBLICATION: Final = "ditto.publication"
_FORMER: Final = "ditto.former-systems"
"""System identifiers of the clusters of which the owner's was made by pg_upgrade, with commas."""
_CREATED: Final = "ditto.created"
"""Only a stream that Ditto created gets new subjects from it."""
_IDENTIFIED: Final = "ditto.identified-after"
"""Every checkpoint of Ditto's after this stream sequence has an id; those of earlier versions have none."""
SNAPSHOTS: Final = "ditto.snapshots"
"""The newest control event of snapshots, while a run is open: a purge takes those that are messages."""
_PLACE: Final = "ditto.place"
"""A checkpoint, for streams whose last message the server may delete."""


def read_owner(metadata: Mapping[str, str]) -> PipelineId | None:
    """The owner that the metadata names. Raises ValueError for an LSN that is none."""
    if not metadata.keys() >= {_SYSTEM, _SLOT, _EVENTS_PREFIX, _START_LSN}:
        return None
    timeline = metadata.get(_TIMELINE, "")
    return PipelineId(
        metadata[_SYSTEM],
        metadata[_SLOT],
        metadata[_EVENTS_PREFIX],
        parse_lsn(metadata[_START_LSN]),
        int(timeline) if timeline.isdecimal() else 0,
        metadata.get(_PUBLICATION, ""),
        tuple(filter(None, metadata.get(_FORMER, "").split(","))),
    )


def created() -> dict[str, str]:
    """The metadata of a stream that Ditto creates."""
    return {_CREATED: "true", _IDENTIFIED: "0"}


def claim(metadata: Mapping[str, str], claimant: PipelineId, *, last_sequence: int) -> dict[str, str]:
    """The metadata with `claimant` as the owner; the same where nothing has to change.

    The timeline and the publication of an owner stay: they are those of what is stored.
    """
    owner = read_owner(metadata)
    given = dict(metadata)
    given.setdefault(_IDENTIFIED, str(last_sequence))
    is_successor = owner is not None and owner.system_identifier != claimant.system_identifier
    if owner is None or is_successor:
        former = () if owner is None else (*owner.former_systems, owner.system_identifier)
        given |= {_SYSTEM: claimant.system_identifier, _SLOT: claimant.slot, _START_LSN: format_lsn(claimant.start_lsn)}
        given |= describe_source(claimant)
        if former:
            given[_FORMER] = ",".join(former)
            given.pop(_PLACE, None)
    return given | {_EVENTS_PREFIX: claimant.prefix}


def describe_source(owner: PipelineId) -> dict[str, str]:
    """The source of what is stored from now on."""
    return {_TIMELINE: str(owner.timeline), _PUBLICATION: owner.publication}


def is_created_here(metadata: Mapping[str, str]) -> bool:
    """Whether Ditto created the stream."""
    return metadata.get(_CREATED) == "true"


def identified_after(metadata: Mapping[str, str]) -> int | None:
    """The sequence after which every checkpoint has an id; None where that is not known."""
    text = metadata.get(_IDENTIFIED, "")
    return int(text) if text.isdecimal() else None


def read_place(metadata: Mapping[str, str]) -> Checkpoint | None:
    """Where the owner was; None where that is not kept, or cannot be read."""
    try:
        return decode_checkpoint(metadata[_PLACE]).checkpoint
    except (KeyError, ValueError, msgspec.MsgspecError):
        return None


def write_place(place: Checkpoint, owner: PipelineId) -> dict[str, str]:
    """The metadata for this place."""
    return {_PLACE: encode_checkpoint(place, event_key(owner.system_identifier, owner.slot)).decode()}


def restored(metadata: Mapping[str, str], claimed: Mapping[str, str]) -> dict[str, str]:
    """The metadata with the keys of Ditto that it had when the stream was claimed, where they are gone."""
    return {**{name: value for name, value in claimed.items() if name.startswith(PREFIX)}, **metadata}
