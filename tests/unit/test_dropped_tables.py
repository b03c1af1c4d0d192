"""What is kept of dropped tables is given up, and not before their last changes have been read."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from ditto.decoding.choose import Decoder
from ditto.monitoring.counters import Counters
from ditto.pipeline import dropped_tables
from ditto.pipeline.dropped_tables import MANY, PERIOD_S, DroppedTables
from ditto.routing.planner import Planner
from ditto.tasks import end
from unit.fakes import FakeControl, fake_time


class Known:
    """A decoder that knows tables by their oid, and has passed an LSN."""

    def __init__(self, count: int) -> None:
        self.tables = {oid: f"t{oid}" for oid in range(count)}
        self.passed_lsn = 0

    @property
    def relation_count(self) -> int:
        return len(self.tables)

    def relations(self) -> dict[int, str]:
        return dict(self.tables)

    def forget(self, relations: Mapping[int, str]) -> list[str]:
        for oid in relations:
            del self.tables[oid]
        return list(relations.values())


class Forgetful:
    """A planner: which tables it was to forget."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def forget(self, tables: Collection[str]) -> None:
        self.forgotten += tables


class Database(FakeControl):
    """A catalogue that lacks some oids."""

    def __init__(self) -> None:
        super().__init__({"look for dropped tables": self._missing})
        self.dropped: set[int] = set()

    def _missing(self, arguments: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"oid": oid} for oid in arguments[0] if oid in self.dropped]


class Scene:
    def __init__(self, count: int) -> None:
        self.decoder, self.database, self.counters = Known(count), Database(), Counters()
        self.planner = Forgetful()
        self.refreshed_at: list[int] = []
        self.counters.refresh = lambda: self.refreshed_at.append(self.decoder.relation_count)
        self.running = asyncio.create_task(
            DroppedTables(
                self.database,
                cast("Decoder", self.decoder),
                planner=cast("Planner", self.planner),
                counters=self.counters,
            ).run()
        )


@fake_time
async def test_a_moderate_number_of_tables_is_kept_without_asking() -> None:
    scene = Scene(MANY)
    scene.database.dropped = {1, 2}
    await asyncio.sleep(100 * PERIOD_S)
    assert scene.database.asked == []
    await end(scene.running)


@fake_time
async def test_dropped_tables_are_forgotten_everywhere_and_no_others() -> None:
    scene = Scene(MANY + 1)
    scene.database.dropped = {3, 5}
    await asyncio.sleep(PERIOD_S + 1)
    assert scene.planner.forgotten == ["t3", "t5"]
    assert scene.decoder.relation_count == MANY - 1
    assert scene.refreshed_at == [MANY + 1, MANY - 1]  # what was counted for them is not lost
    await end(scene.running)


@fake_time
async def test_nothing_is_forgotten_before_all_changes_up_to_the_drop_are_read() -> None:
    scene = Scene(MANY + 1)
    scene.database.dropped, scene.database.lsn = {3}, 0x500
    await asyncio.sleep(10 * PERIOD_S)
    assert scene.planner.forgotten == []
    scene.decoder.passed_lsn = 0x4FF
    await asyncio.sleep(PERIOD_S)
    assert scene.planner.forgotten == []
    scene.decoder.passed_lsn = 0x500
    await asyncio.sleep(PERIOD_S)
    assert scene.planner.forgotten == ["t3"]
    await end(scene.running)


@fake_time
async def test_many_tables_that_exist_are_asked_for_more_rarely() -> None:
    scene = Scene(2 * MANY)
    await asyncio.sleep(10 * PERIOD_S)
    assert scene.database.asked == ["look for dropped tables"]
    assert scene.planner.forgotten == []
    scene.decoder.tables.update(dict.fromkeys(range(2 * MANY, 4 * MANY + 1), "more"))
    await asyncio.sleep(2 * PERIOD_S)
    assert len(scene.database.asked) == 2
    await end(scene.running)


def test_the_query_names_the_schema_of_everything() -> None:
    assert "pg_catalog.pg_class" in dropped_tables._DROPPED
