"""Numbers as people read them."""

from __future__ import annotations

import pytest

from ditto.units import counted, size, span


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 tables"), (1, "1 table"), (2, "2 tables"), (1000, "1,000 tables"), (-1, "-1 tables")]
)
def test_counted(count: int, said: str) -> None:
    assert counted(count, "table") == said


def test_an_irregular_plural() -> None:
    assert [counted(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "0.977 kB"),
        (1024, "1 kB"),
        (1536, "1.5 kB"),
        (1023 * 1024, "0.999 MB"),
        (1020 * 1024, "0.996 MB"),
        (64 * 1024 * 1024, "64 MB"),
        (999 * 1024**2, "999 MB"),
        (1024**3 - 1, "1 GB"),
        (5 * 1024**4, "5 TB"),
        (5000 * 1024**4, "5,000 TB"),
        (-2048, "-2 kB"),
    ],
)
def test_size(size_bytes: int, said: str) -> None:
    assert size(size_bytes) == said


def test_no_size_is_written_with_an_exponent_or_four_digits() -> None:
    for exponent in range(55):
        for near in (-1, 0, 1):
            for factor in (1, 999, 1000, 1023):
                number = size(factor * 2**exponent + near).split()[0]
                assert "e" not in number
                assert len(number.replace(",", "").split(".")[0]) <= 3 or "TB" in size(factor * 2**exponent + near)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.0000005, "0 µs"),
        (0.00042, "420 µs"),
        (0.0123, "12.3 ms"),
        (0.9, "900 ms"),
        (1, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3 * 3600, "3 h"),
        (3 * 86400, "3 days"),
    ],
)
def test_span(seconds: float, said: str) -> None:
    assert span(seconds) == said
