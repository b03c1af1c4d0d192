"""What the error for a change that no message can hold tells people to do."""

from __future__ import annotations

import pytest

from ditto.config import Events
from ditto.config.events import Outbox
from ditto.lsn import Position
from ditto.pipeline.too_large import event_too_large
from ditto.sinks.base import Capabilities

SINK = Capabilities("stream", "S", "nats.stream", size_hint="raise max_payload")
OUTBOX = Outbox(table="public.outbox", subject="{data.topic}")


@pytest.mark.parametrize(
    ("events", "table", "has_choice"),
    [
        (Events(), "public.t", True),
        (Events(outbox=OUTBOX), "public.t", True),
        (Events(outbox=OUTBOX), "public.outbox", False),
        (Events(oversize="strip"), "public.t", False),
    ],
)
def test_events_oversize_is_named_where_it_would_help(events: Events, table: str, has_choice: bool) -> None:
    error = event_too_large(
        "INSERT", table, Position(1, 1), size="2000", limit=1000, column=None, sink=SINK, events=events
    )
    assert error.hint is not None
    assert error.hint.startswith("raise max_payload")
    assert ("events.oversize" in error.hint) == has_choice
