"""Rows that a publication's row filter lets in while their table is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.snapshots.recording import StreamRecording
from e2e.snapshots.writers import request

if TYPE_CHECKING:
    from e2e.world import World


async def test_a_row_that_an_update_brings_into_the_filter_has_all_its_columns(world: World) -> None:
    """It is sent as an INSERT, without the TOASTed columns that did not change."""
    world.sql(
        "CREATE TABLE docs (id int, region text, doc text, PRIMARY KEY (id, region))",
        "ALTER TABLE docs ALTER doc SET STORAGE EXTERNAL",
        "INSERT INTO docs SELECT i, CASE WHEN i % 2 = 0 THEN 'eu' ELSE 'us' END, repeat(md5(i::text), 80) "
        "FROM generate_series(1, 1000) AS i",
        f"CREATE PUBLICATION {world.name} FOR TABLE fence, docs WHERE (region = 'eu')",
    )
    ditto = await world.streaming(snapshot_chunk_rows="100")
    recording = StreamRecording(world)
    request(world, "run", "public.docs", max_rows_per_s=200)
    await recording.until(lambda: recording.reads("run") >= 50, "some rows are read", ditto=ditto)
    world.sql("UPDATE docs SET region = 'eu' WHERE id IN (1, 3, 999)")
    await recording.finished("run", ditto=ditto)
    found: dict[int, str] = {}
    for message in recording.messages:
        if message.is_change and message.event["table"] == "docs":
            found |= {row["id"]: row["doc"] for row in [message.event["data"]] if "doc" in row}
    expected = dict(world.sql("SELECT id, doc FROM docs WHERE region = 'eu'"))
    assert found == expected
    assert await ditto.stop() == 0
