"""The file that TIMELINE_HISTORY sends."""

from __future__ import annotations

from ditto.source.replication import parse_history


def test_ancestors_and_where_they_ended() -> None:
    content = b"1\t0/3000148\tno recovery target specified\n\n2\t1A/4000000\tbefore 2026-01-01 00:00:00+00\n"
    assert parse_history(content) == {1: 0x3000148, 2: 0x1A_04000000}


def test_comments_and_nothing() -> None:
    assert parse_history(b"# a comment\n3\t0/5\tx\n") == {3: 5}
    assert parse_history(b"") == {}
