"""Every type, as a consumer of each sink finds it: new rows, old rows, rows of snapshots, in every format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.formats.test_every_type import FORMATS, as_new_ones
from e2e.sinks.file_world import LineWorld
from e2e.values.test_round_trip import check, on_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from e2e.sinks.replayed_world import ReplayedWorld


@pytest.fixture(params=["kafka", "redis", "rabbitmq", "file", "webhook"])
def any_world(request: pytest.FixtureRequest) -> ReplayedWorld:
    """On each sink."""
    world: ReplayedWorld = request.getfixturevalue(f"{request.param}_world")
    return world


async def test_every_type_comes_back(any_world: ReplayedWorld) -> None:
    """By the inverse that docs/events.md describes: values and their bounds, and arrays of them."""
    is_lines = isinstance(any_world, LineWorld)
    await check(any_world, {}, impl="c", count=5, prepared=on_one_line if is_lines else lambda case: case)


async def test_old_rows_and_rows_of_snapshots_are_as_new_ones(any_world: ReplayedWorld) -> None:
    world = any_world

    async def stored() -> list[tuple[bytes, Mapping[str, str]]]:
        (ditto,) = world._processes
        await ditto.logged("snapshot.finished", timeout_s=60)
        await world.fence()
        return await world.payloads()

    await as_new_ones(world, stored, formats=FORMATS)
