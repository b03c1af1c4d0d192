"""Whether it makes sense to pause, resume or cancel a run, by what a running Ditto knows. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final, NamedTuple

from ditto.monitoring.status_document import Snapshots
from ditto.source.snapshot_requests import Verb

GRACE_S: Final = 3.0
"""How long a run may be unknown that somebody has just asked for: Ditto has not come to the request yet."""
_SHOWN: Final = 40


class Objection(NamedTuple):
    """Why not."""

    what: str
    is_unknown: bool = False
    """There is no such run; otherwise it is in a state in which that makes no sense."""


def why_not(known: Snapshots, verb: Verb, run: str) -> Objection | None:
    """The reason, or None where the request can be sent."""
    found = next((each for each in known.runs if each.run == run), None)
    shown = repr(run[:_SHOWN])
    if found is None and known.knows_all:
        near = get_close_matches(run[:_SHOWN], [each.run for each in known.runs if not each.is_ended], n=1)
        return Objection(f"there is no run {shown}" + (f": did you mean {near[0]}?" if near else ""), is_unknown=True)
    if found is None:
        return Objection(f"this Ditto does not stream ({known.state}) and knows no run {shown}: ask the one that does")
    if found.is_ended:
        return Objection(f"run {run} has ended: {found.state}")
    if verb == "pause" and found.state == "paused":
        return Objection(f"run {run} is paused already")
    if verb == "resume" and found.state != "paused":
        return Objection(f"run {run} is not paused")
    return None
