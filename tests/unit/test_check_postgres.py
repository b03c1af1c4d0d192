"""What `ditto check` says of the server's version."""

from __future__ import annotations

import pytest

from ditto.check.postgres import Server, check_server


def level_and_reason(version: int) -> tuple[str, str]:
    settings = {
        "wal_level": "logical",
        "max_replication_slots": "10",
        "max_wal_senders": "10",
        "max_slot_wal_keep_size": "1024",
        "wal_sender_timeout": "60000",
    }
    server = Server(
        version=version,
        version_text=f"{version // 10000}.{version % 10000}",
        is_standby=False,
        settings=settings,
        role="ditto",
        slots_used=0,
        walsenders_used=0,
        wal_bytes_per_s=0,
    )
    (finding,) = [
        each for each in check_server(server, has_slot=True, is_slot_active=True) if each.check == "server.version"
    ]
    return finding.level, finding.why


@pytest.mark.parametrize(
    ("version", "level"),
    [
        (130020, "error"),
        (140017, "warning"),
        (140018, "ok"),
        (150012, "warning"),
        (150013, "ok"),
        (160008, "warning"),
        (160009, "ok"),
        (170004, "warning"),
        (170005, "ok"),
        (180000, "ok"),
    ],
)
def test_minor_releases_that_leave_out_rows(version: int, level: str) -> None:
    found, why = level_and_reason(version)
    assert found == level
    if level == "warning":
        assert f"{version // 10000}.{version % 10000 + 1} corrects it" in why
