"""What a node says about a control plane that it has lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ditto.config import NatsConnection
from ditto.errors import ControlPlaneLost, SinkDenied
from ditto.fleet import control_plane
from ditto.fleet.control_plane import ControlPlane


def lost_by(denied: SinkDenied) -> ControlPlaneLost:
    """As `lost` makes it."""
    error = ControlPlaneLost("may not", hint="give the right")
    error.__cause__ = denied
    return error


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([ControlPlaneLost("the connection to NATS ended")], "the connection to NATS ended"),
        ([ExceptionGroup("inner", [KeyError("hunter2")])], "KeyError"),
        ([SinkDenied("may not", hint="give the right")], "may not"),
        ([lost_by(SinkDenied("it may not", hint="give the right"))], "may not"),
    ],
)
async def test_the_reason_after_several_errors_at_once_is_that_of_one(
    monkeypatch: pytest.MonkeyPatch, errors: list[Exception], words: str
) -> None:
    async def nothing(*_: object, **__: object) -> Any:
        return {}

    async def connection(*_: object, **__: object) -> Any:
        return SimpleNamespace(guard=lambda work: work)

    for name, replaced in (("connect", connection), ("open_buckets", nothing), ("close", nothing)):
        monkeypatch.setattr(control_plane, name, replaced)
    plane = ControlPlane(NatsConnection())
    with pytest.raises(ExceptionGroup):
        async with plane.connected():
            raise ExceptionGroup("unhandled errors in a TaskGroup", errors)
    assert plane.reason == words
    with pytest.raises(ControlPlaneLost, match=f"^the control plane is away: {words}$") as caught:
        plane.bucket("ditto_pipelines")
    assert (caught.value.hint == "give the right") == (words == "may not"), "NATS is there where it refuses"
