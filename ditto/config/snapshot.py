"""The section `snapshot` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ditto.config.documented import documented as _doc


class Snapshot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rows that are in the tables already, as READ events among the changes."""

    mode: Annotated[
        Literal["never", "initial"],
        _doc(
            "`initial`: store every row of the selected tables once, when the pipeline takes a new stream. `never`: "
            "only where someone asks for it (`ditto snapshot start`)."
        ),
    ] = "never"
    tables: Annotated[
        list[str] | None,
        _doc(
            "Which of the selected tables `initial` reads: a table (in any schema), schema.table, or a glob of either. "
            "Absent: all of them.",
            ["trades", "audit.*"],
        ),
    ] = None
    chunk_rows: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        _doc(
            "The most rows that are read at once. Live events wait while the rows of one chunk are sent; where that "
            "takes more than some 10 ms and there are live events, fewer rows are read."
        ),
    ] = 20_000
    chunk_bytes: Annotated[
        int,
        Meta(ge=1, le=64 << 20),
        _doc("About how many bytes are read at once; the first of the two limits holds. Two chunks are in memory."),
    ] = 4_194_304
    max_rows_per_s: Annotated[
        int,
        Meta(ge=0),
        _doc("The most rows a second that a snapshot reads, where its request does not say; 0 for no limit.", 5000),
    ] = 0
