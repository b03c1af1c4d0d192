"""Writers' tables, a Ditto that reads them, and all that it stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from e2e.sinks.file_world import FileWorld
from e2e.snapshots.oracle import Oracle
from e2e.snapshots.recording import FileRecording, StreamRecording
from e2e.snapshots.writers import QUICK, SHAPES, Pace, Shape, copy_tables, make_tables, request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.process import DittoProcess
    from e2e.snapshots.recording import Recording
    from e2e.world import World

NAMES = tuple(shape.name for shape in SHAPES)


class Scene:
    """To be begun when there is nothing in the world yet."""

    def __init__(self, world: World, *, pace: Pace = QUICK, shapes: Sequence[Shape] = SHAPES, **settings: str) -> None:
        self.world = world
        self.pace = pace
        self.shapes = shapes
        self.settings: dict[str, str] = {"snapshot_chunk_rows": "200", **settings}
        self.recording: Recording = FileRecording(world) if isinstance(world, FileWorld) else StreamRecording(world)
        self.runs: list[str] = []

    async def begun(self) -> Self:
        """Fill the tables, start Ditto, and copy them."""
        make_tables(self.world, rows=self.pace.rows, shapes=self.shapes)
        self.ditto: DittoProcess = await self.world.streaming(**self.settings)
        self.base = copy_tables(self.world, self.shapes)
        return self

    def request(self, run: str | None = None, *, tables: Sequence[str] | None = None, **more: Any) -> str:
        """Ask for a snapshot; returns its run id."""
        tables = [shape.name for shape in self.shapes] if tables is None else tables
        run = run or f"run-{len(self.runs) + 1}"
        self.runs.append(run)
        request(self.world, run, *(f"public.{name}" for name in tables), **more)
        return run

    async def ran(self, *, timeout_s: float = 120, **more: Any) -> str:
        """Ask for a snapshot, and wait for its end."""
        run = self.request(**more)
        await self.recording.finished(run, timeout_s=timeout_s, ditto=self.ditto)
        return run

    async def is_right(
        self,
        *,
        tables: Sequence[str] | None = None,
        least_reads: int = 1,
        fence_s: float = 60,
    ) -> Oracle:
        """Nobody writes any more: judge all that was stored. Every run has read all `tables`, once each."""
        tables = [shape.name for shape in self.shapes] if tables is None else tables
        await self.world.fence(timeout_s=fence_s)
        await self.recording.read_on()
        oracle = Oracle(self.base)
        oracle.take_all(self.recording.messages)
        oracle.matches(copy_tables(self.world, self.shapes))
        assert not oracle.faults, "\n".join(oracle.faults)
        assert sorted(oracle.done) == sorted((run, name) for run in self.runs for name in tables), oracle.done
        assert all(oracle.reads[name] >= least_reads for name in tables), oracle.reads
        return oracle
