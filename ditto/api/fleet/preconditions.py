"""Which revision a change is made to: `If-Match`, `If-None-Match` (RFC 9110), and the `ETag` of a pipeline."""

from __future__ import annotations

import re
from typing import Annotated, Final, NamedTuple

from litestar.params import HeaderParameter

from ditto.errors import RevisionConflict, RevisionMissing
from ditto.fleet.records import Stored

_TAG: Final = re.compile(r'"[0-9]{1,19}"|[0-9]{1,19}')
_ANY: Final = "*"

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        required=False,
        description='The revision that this is a change of, in quotes as in the `ETag` (`"7"`); `*` for any.',
    ),
]
IfNoneMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-None-Match", required=False, description="`*`: the pipeline is new, and must not be there yet."
    ),
]


class Precondition(NamedTuple):
    """What the caller knows of the pipeline that is to change."""

    if_match: str | None
    if_none_match: str | None = None

    def check(self, name: str, found: Stored | None, *, is_required: bool) -> None:
        """Raises RevisionConflict where the pipeline has changed, RevisionMissing where the request does not say."""
        if self.if_match is None and self.if_none_match is None:
            if is_required:
                raise RevisionMissing(
                    f"the request does not say which revision of pipeline {name} it changes",
                    hint=_how(found),
                )
            return
        if self.if_none_match is not None and (found is not None or self.if_none_match.strip() != _ANY):
            if found is None:
                raise RevisionConflict(f"If-None-Match of pipeline {name} can only be *", hint=_how(found))
            raise RevisionConflict(
                f"there is a pipeline {name} already, at revision {found.revision}", hint=_how(found)
            )
        if self.if_match is None or (self.if_match.strip() == _ANY and found is not None):
            return
        if found is None:
            raise RevisionConflict(f"there is no pipeline {name} that could be at a revision", hint=_how(found))
        given = _TAG.fullmatch(self.if_match.strip())
        if given is None:
            raise RevisionConflict(f"If-Match of pipeline {name} is no revision", hint=_how(found))
        expected = int(given[0].strip('"'))
        if expected != found.revision:
            raise RevisionConflict(
                f"pipeline {name} is at revision {found.revision}, changed by {found.record.by or 'somebody'}, and not "
                f"at {expected}",
                hint="get it again, look at the difference, and send the change with the new revision",
            )


def etag(revision: int) -> dict[str, str]:
    """The header of an answer."""
    return {"ETag": f'"{revision}"'}


def _how(found: Stored | None) -> str:
    return "for a new one send If-None-Match: *" if found is None else f'send If-Match: "{found.revision}"'
