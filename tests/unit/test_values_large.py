"""Large values: the time that a byte takes does not depend on how many there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ditto.decoding.column_kinds import HSTORE, KINDS, TEXT

if TYPE_CHECKING:
    from unit.implementations import Implementation

MB = 1_000_000

# Kind, beginning, what is repeated, what stands between, end.
LITERALS = {
    "text[]": (KINDS.find(0, "", "_text"), b"{", b'"a b"', b",", b"}"),
    "text[] with escapes": (KINDS.find(0, "", "_text"), b"{", rb'"a \"b\" \\"', b",", b"}"),
    "text[] of one element": (KINDS.find(0, "", "_text"), b'{"', rb"a\\", b"", b'"}'),
    "text[] that never ends": (KINDS.find(0, "", "_text"), b'{"', rb"a\\", b"", b""),
    "int4[]": (KINDS.find(0, "", "_int4"), b"{", b"{1,2}", b",", b"}"),
    "jsonb[]": (KINDS.find(0, "", "_jsonb"), b"{", rb'"{\"a\": 1}"', b",", b"}"),
    "hstore": (HSTORE, b"", rb'"a"=>"b\"", "b"=>NULL', b", ", b""),
    "hstore[]": (KINDS.find(0, "public", "_hstore"), b"{", rb'"\"a\"=>\"b\\\\\""', b",", b"}"),
    "bytea": (KINDS.find(0, "", "bytea"), b"\\x", b"0123456789ab", b"", b""),
    "bytea[]": (KINDS.find(0, "", "_bytea"), b"{", rb'"\\x0123456789ab"', b",", b"}"),
    "json": (KINDS.find(0, "", "json"), b"[", '[1, 2.50, "é"]'.encode(), b",", b"]"),
    "text": (TEXT, b"", 'é "b"\n'.encode(), b"", b""),
}


def literal(name: str, size: int) -> tuple[bytes, int]:
    kind, begin, part, separator, end = LITERALS[name]
    count = size // (len(part) + len(separator))
    return begin + (part + separator) * (count - 1) + part + end, kind


def seconds_per_byte(impl: Implementation, name: str, size: int, *, rounds: int) -> float:
    data, kind = literal(name, size)
    times = []
    for _ in range(rounds):
        began_at = time.thread_time()
        impl.convert(data, kind)
        times.append(time.thread_time() - began_at)
    return min(times) / len(data)


@pytest.mark.parametrize("name", LITERALS)
def test_the_time_per_byte_is_flat(impl: Implementation, name: str) -> None:
    """Memory that is touched for the first time makes a large value a little dearer.

    40 MB: what malloc takes from the system anew each time begins at 32 MB. Work that grows with the square of the
    size would make it 20 or 40 times as dear; a busy machine has made it 7 times as dear.
    """
    small, large = (MB, 40 * MB) if impl.name == "c" else (MB // 20, MB)
    assert seconds_per_byte(impl, name, large, rounds=2) < 12 * seconds_per_byte(impl, name, small, rounds=5)


@pytest.mark.long
@pytest.mark.parametrize("name", LITERALS)
def test_the_time_per_byte_is_flat_up_to_100_mb(impl: Implementation, name: str) -> None:
    small, large = (seconds_per_byte(impl, name, size * MB, rounds=1) for size in (1, 100))
    assert large < 6 * small
