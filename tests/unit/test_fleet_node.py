"""A node that meets errors which nobody expected."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import nats.errors
import pytest

from ditto.config.load import load_server
from ditto.errors import ControlPlaneLost, NodeCrashed, SinkLost
from ditto.fleet.buckets import Bucket
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.crashes import Crashes
from ditto.fleet.node import Node
from unit.fakes import fake_time


def unconnected_node() -> Node:
    return Node(load_server(None, {"DITTO_NODE": "n1", "DITTO_MAX_PIPELINES": "0"}), api_url="")


class Failing:
    """A connection to the control plane that cannot be made."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.attempts: list[float] = []

    async def __aenter__(self) -> None:
        self.attempts.append(asyncio.get_running_loop().time())
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        pass


@fake_time
async def test_an_unexpected_error_is_tried_again_a_few_times_and_ends_the_node(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = Failing(ExceptionGroup("", [KeyError("hunter2")]))
    monkeypatch.setattr(ControlPlane, "connected", lambda _: failing)
    with pytest.raises(NodeCrashed, match=r"an unexpected KeyError has ended .* 6 times in a row") as caught:
        await unconnected_node().run()
    assert caught.value.exit_code == 1
    assert len(failing.attempts) == 6
    assert failing.attempts[-1] - failing.attempts[0] > 4
    assert "hunter2" not in str(capfd.readouterr())


@fake_time
async def test_a_lost_connection_is_tried_again_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(ControlPlaneLost("away"))
    monkeypatch.setattr(ControlPlane, "connected", lambda _: failing)
    node = unconnected_node()
    running = asyncio.create_task(node.run())
    await asyncio.sleep(600)
    assert len(failing.attempts) > 500
    node.stop()
    await running


def test_crashes_are_in_a_row_where_less_than_a_minute_is_between_them() -> None:
    now = [0.0]
    crashes = Crashes(clock=lambda: now[0])
    for _ in range(20):
        now[0] += 61
        crashes.note()
    assert crashes.count == 1
    for _ in range(5):
        now[0] += 59
        crashes.note()
    assert crashes.are_too_many


@pytest.mark.parametrize(
    ("error", "has_ended", "expected"),
    [
        (nats.errors.ConnectionClosedError(), False, ControlPlaneLost),
        (nats.errors.TimeoutError(), False, ControlPlaneLost),
        (ConnectionResetError(), False, ControlPlaneLost),
        (TimeoutError(), False, ControlPlaneLost),
        (SinkLost("the connection ended"), False, ControlPlaneLost),
        (AttributeError("'NoneType' has no attribute 'write'"), True, ControlPlaneLost),
        (AttributeError("'NoneType' has no attribute 'write'"), False, AttributeError),
        (KeyError("x"), False, KeyError),
    ],
)
async def test_only_errors_of_the_connection_are_a_lost_control_plane(
    error: Exception, has_ended: bool, expected: type[Exception]
) -> None:
    async def guard(work: Any) -> Any:
        return await work

    async def put(_key: str, _value: bytes) -> int:
        raise error

    failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if has_ended:
        failure.set_result(None)
    connection: Any = SimpleNamespace(guard=guard, failure=failure, where="n")
    store: Any = SimpleNamespace(put=put)
    with pytest.raises(expected):
        await Bucket(store, connection, "ditto_nodes").put("n1", b"")
