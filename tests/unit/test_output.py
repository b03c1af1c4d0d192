"""What commands print for people."""

from __future__ import annotations

import io
from typing import Any

import click
import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from ditto.check.finding import Finding, bad, ok
from ditto.cli.check import _print
from ditto.cli.show import show
from ditto.cli.status_table import status_table
from ditto.formats.snapshot_events import Control, ControlEvent
from ditto.formats.stored_events import StoredEvent, read_event
from ditto.monitoring.status_document import (
    Leader,
    Process,
    Servers,
    Slot,
    SnapshotSummary,
    StateChange,
    Status,
    Stream,
    Window,
)
from ditto.source.standbys import Standby
from ditto.tail.show import Writer

HOSTILE = "t\nleader  none\x1b[2J\u009b[red]"
AT = "2026-01-02T03:04:05.000Z"


def status(**changes: Any) -> Status:
    slot = Slot("ditto", 7, "reserved", "0/10", "0/8", "0/20", 16, 1024 * 1023, 5 * 1024**3)
    stream = Stream("DITTO", 1, 1000, 1, 1, "0/10:1", AT, "file", 1, None, 0.931)
    process = Process(
        run_id="r",
        version="1",
        host="vm",
        pid=42,
        started=AT,
        state="streaming",
        reason="it runs",
        is_ready=True,
        events=1,
        stored=1,
        window=Window(1, 100, 16_000, 33_554_432),
        sessions={"SinkLost": 1},
        rewinds=0,
        skipped=0,
        fenced=0,
        states=[StateChange(AT, "streaming", "it runs")],
        acknowledged_p50_s=0.0005,
        acknowledged_p99_s=0.0123,
    )
    leader = Leader(7, "10.0.0.1", AT, "vm", 42)
    servers = Servers(AT, slot, stream, leader, [Standby(9, "10.0.0.2", AT, "vm2", 43)], [])
    whole = Status("ditto", "shop", process, 0.25, 3.0, servers, 4.2)
    return msgspec.structs.replace(
        whole,
        servers=msgspec.structs.replace(servers, **{k: v for k, v in changes.items() if k in {"leader", "standbys"}}),
        process=msgspec.structs.replace(process, **{k: v for k, v in changes.items() if k in {"reason", "host"}}),
    )


def shown(given: Status) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(status_table(given))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def line(text: str, name: str) -> str:
    found = [each for each in text.splitlines() if each.startswith(name)]
    assert len(found) == 1, text
    return found[0].removeprefix(name).strip()


def test_leader_and_standby_by_host_and_pid() -> None:
    text = shown(status())
    assert line(text, "leader") == f"vm, pid 42, from 10.0.0.1 (walsender 7, since {AT})"
    assert line(text, "standbys") == f"vm2, pid 43, from 10.0.0.2 (session 9, since {AT})"
    text = shown(status(leader=None, standbys=[Standby(9, None, None)]))
    assert line(text, "leader") == "none"
    assert line(text, "standbys") == "unknown (session 9, since -)"


def test_acknowledgements_age_and_numbers() -> None:
    text = shown(status())
    assert line(text, "acknowledged in") == "500 µs at the median, 12.3 ms at p99, in the last minute"
    assert line(text, "servers asked") == f"{AT}, 4 s ago"
    assert line(text, "sessions") == "one is running; ended: 1 SinkLost"
    assert line(text, "stream").startswith("DITTO, 1 message, 0.977 kB, 93% of its limit, file, 1 replica,")
    assert line(text, "retained WAL") == "0.999 MB (reserved), the slot is lost after 5 GB more"
    assert line(text, "lag") == "16 bytes, 250 ms"


def test_what_steers_a_terminal_does_not_pass_through_status() -> None:
    text = shown(status(reason=HOSTILE, host=HOSTILE, leader=Leader(7, None, None, HOSTILE, 1)))
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert "[red]" in text, "it is no markup either"
    line(text, "leader")


def test_without_a_slot_nobody_knows_of_a_leader() -> None:
    text = shown(Status("servers", "shop", None, None, None, Servers(AT, None, None, None, [], ["no answer"]), 0.0))
    for name in ("slot", "lag", "leader", "standbys"):
        assert line(text, name) == "-", name


def test_lines_are_whole_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    show(status_table(status(reason="a reason of many words " * 20)))
    text = capsys.readouterr().out
    assert line(text, "because") == ("a reason of many words " * 20).strip()
    assert all(each == each.rstrip() for each in text.splitlines())
    assert text.endswith(f"{AT}, 4 s ago\n")


# ------------------------------------------------------------------------------------ check


def printed(findings: list[Finding], capsys: pytest.CaptureFixture[str], *, shows_all: bool = False) -> str:
    _print(findings, shows_all=shows_all)
    return capsys.readouterr().out


def test_check_prints_what_is_wrong_the_worst_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = "nats stream edit DITTO " + "--subjects='x' " * 12
    findings = [
        *(ok(f"area.{number}", "it is fine " * 20, "why " * 40) for number in range(30)),
        bad("warning", "area.warned", "not so good", "why", command=command),
        bad("error", "area.broken", "bad", "why", psql="ALTER TABLE a;\nALTER TABLE b;"),
    ]
    text = printed(findings, capsys)
    lines = text.splitlines()
    assert lines[0] == "error  area.broken"
    assert lines[-1] == "1 error, 1 warning, 30 ok (--all shows them too)"
    assert len(lines) < 20
    assert f"    {command}" in lines, "to be copied as it stands"
    assert "    ALTER TABLE a;" in lines
    assert "    ALTER TABLE b;" in lines
    assert "area.7" not in text
    assert "ok  area.7" in printed(findings, capsys, shows_all=True)


def test_what_steers_a_terminal_does_not_pass_through_check(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed([bad("error", "area.broken", HOSTILE, HOSTILE, psql=HOSTILE)], capsys)
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert "[red]" in text


# ------------------------------------------------------------------------------------ tail


def event(**columns: str) -> StoredEvent:
    return StoredEvent("public", "t", "UPDATE", row(**columns), row(**dict.fromkeys(columns, "before")), AT)


def row(**columns: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(columns))


@pytest.mark.parametrize("is_coloured", [False, True])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_of_tail_fit_the_terminal(width: int, *, is_coloured: bool) -> None:
    wide = event(id="1" * 300, name="x" * 300, town="東京" * 100, **{"c" * 50: "v" * 300})
    lines = Writer(is_coloured=is_coloured, width=lambda: width).text(wide).splitlines()
    assert len(lines) >= 4
    for each in lines:
        assert cell_len(click.unstyle(each)) <= width
        assert each.count("\x1b[0m") >= min(1, each.count("\x1b["))
    if width >= 80:
        assert all("→" in each for each in lines[2:4]), "both values are shown"


def test_without_a_terminal_lines_are_as_long_as_they_are() -> None:
    text = Writer(is_coloured=False).text(event(id="1", name="x" * 70))
    assert "x" * 70 in text


def test_the_key_that_an_event_names_is_the_key() -> None:
    payload = (
        b'{"id":"i","schema":"public","table":"t","action":"READ","data":{"a":1,"b":2,"c":3},"dataOld":{},'
        b'"commitTime":"2026-01-02T03:04:05.000Z","meta":{"primaryKey":["a","b"],"lsn":"0/1"}}'
    )
    writer = Writer(is_coloured=False)
    assert writer.text(read_event(payload)).splitlines()[0].endswith("READ      public.t  a=1 b=2")
    for unnamed in (b'"meta":{"lsn":"0/1"}', b'"meta":{"primaryKey":[]}'):
        text = writer.text(read_event(payload.replace(b'"meta":{"primaryKey":["a","b"],"lsn":"0/1"}', unnamed)))
        assert text.splitlines()[0].endswith("public.t  a=1")


def test_tail_shows_rows_and_steps_of_snapshots() -> None:
    writer = Writer(is_coloured=False)
    read = StoredEvent("public", "t", "READ", row(id="1", note="x"), msgspec.Raw(b"{}"), AT)
    assert writer.text(read).splitlines() == [
        '2026-01-02 03:04:05.000Z  READ      public.t  id="1"',
        '  + note: "x"',
    ]
    for control, text in (
        (Control(state="requested", run="r"), "SNAPSHOT    requested, run r"),
        (
            Control(state="reading", run="r", schema="public", table="t", rows=12),
            "SNAPSHOT  public.t  reading, 12 rows, run r",
        ),
        (
            Control(state="failed", run="r", schema="s", table=HOSTILE, rows=1, reason="no\x1b[2J SELECT"),
            "SNAPSHOT  s.t\\x0aleader  none\\x1b[2J\\x9b[red]  failed, 1 row, run r: no\\x1b[2J SELECT",
        ),
    ):
        line = writer.control_text(ControlEvent(id="i", snapshot=control, commit_time=AT))
        assert line == f"2026-01-02 03:04:05.000Z  {text}"


def test_the_status_has_a_line_for_each_snapshot() -> None:
    one = SnapshotSummary("r1", "request", "reading", 3, 1, 1200, 3800, HOSTILE, 800.0)
    two = SnapshotSummary(
        "r2", "initial", "reading", 1, 0, 0, 0, "public.t", None, "transaction 812 of pid 4711, 12 s old"
    )
    given = msgspec.structs.replace(status(), snapshots=[one, two])
    lines = [line for line in shown(given).splitlines() if line.startswith("snapshot ")]
    assert len(lines) == 2
    assert "r1 (request), reading: 1,200 of about 5,000 rows, t\\x0aleader  none" in lines[0]
    assert "at 800 rows/s, 1 of 3 tables done" in lines[0]
    assert (
        lines[1]
        .rstrip()
        .endswith("r2 (initial), reading: 0 rows, public.t, waits for transaction 812 of pid 4711, 12 s old")
    )
