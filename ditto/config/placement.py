"""On which nodes of a fleet a pipeline runs, and beside which others."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from ditto.config.documented import documented as _doc


class Placement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a fleet (`ditto serve`) runs the pipeline; `ditto run` ignores it."""

    isolated: Annotated[
        bool,
        _doc(
            "Run it in a worker process of its own. Otherwise it shares one, and a core, with other pipelines of the "
            "node."
        ),
    ] = False
    labels: Annotated[
        dict[str, str],
        _doc("Run it only on nodes that have all of these `labels`. Empty: on any node.", {"zone": "a"}),
    ] = {}
