"""Which worker processes a node ends."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from ditto.config import Log
from ditto.fleet import workers


async def test_a_process_that_begins_slowly_is_not_taken_for_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_HANGS_S", 0.05)
    monkeypatch.setattr(workers, "_LOOK_S", 0.02)
    all_of_them = workers.Workers("n1", Log(), count=1)
    with capture_logs() as lines:
        all_of_them.begin(is_warm=True)
        try:
            async with asyncio.timeout(100):
                await all_of_them.news.wait()
            assert not [line for line in lines if line["event"] == "worker.hangs"]
        finally:
            await all_of_them.close()
