"""How often to look where many pipelines share a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ditto import crowd


@pytest.fixture(autouse=True)
def alone_again() -> Iterator[None]:
    yield
    crowd.set_size(1)


@pytest.mark.parametrize(
    ("size", "period_s", "expected_s"), [(1, 5, 5), (20, 5, 5), (100, 5, 25), (500, 5, 60), (500, 90, 90), (0, 2, 2)]
)
def test_few_are_not_concerned_and_nobody_waits_for_more_than_a_minute(
    size: int, period_s: float, expected_s: float
) -> None:
    crowd.set_size(size)
    assert crowd.stretched(period_s) == expected_s
    assert crowd.is_large() == (size > 20)
