"""The loop of attempts, as far as it needs no server."""

from __future__ import annotations

import pytest

from ditto.pipeline.supervisor import backoff_s


@pytest.mark.parametrize(("failures", "ceiling_s"), [(0, 0.2), (1, 0.4), (6, 12.8), (7, 15.0), (100_000, 15.0)])
def test_the_pause_grows_up_to_a_cap_and_never_overflows(failures: int, ceiling_s: float) -> None:
    pauses = [backoff_s(failures) for _ in range(200)]
    assert all(ceiling_s / 2 <= pause <= ceiling_s for pause in pauses)
    assert len(set(pauses)) > 1, "no jitter: all clients come back at the same moment"
