"""`ditto snapshot status` and `--watch`, against what a Ditto would answer."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from ditto.cli.snapshot_display import print_once, progress
from ditto.cli.snapshot_watch import PlainScreen, TerminalScreen, Watch, open_screen
from ditto.errors import ConfigError, DittoError
from ditto.monitoring.snapshot_changes import GRACE_S, why_not
from ditto.monitoring.snapshot_status import KEPT_RUNS, RunState, RunStatus, SnapshotStatus, TableStatus
from ditto.monitoring.status_client import NoAnswer
from ditto.monitoring.status_document import Snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ditto.monitoring.snapshot_status import TableState


def table(name: str, state: TableState, rows: int = 0, estimated: int | None = None, **more: Any) -> TableStatus:
    return TableStatus(schema="public", table=name, state=state, rows=rows, estimated_rows=estimated, **more)


def run(name: str, state: RunState, *tables: TableStatus, **more: Any) -> RunStatus:
    return RunStatus(
        run=name, kind="request", state=state, requested_at="2026-01-02T03:04:05Z", tables=list(tables), **more
    )


def found(*runs: RunStatus, state: str = "streaming") -> Snapshots:
    return Snapshots("shop", state, list(runs))


class Clock:
    """Looks that are answered one after the other; the last one for ever."""

    def __init__(self, answers: Iterable[Snapshots | Exception]) -> None:
        self.now = 0.0
        self._answers = list(answers)

    def look(self) -> Snapshots:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 60, "it does not end"


def watch(*answers: Snapshots | Exception, name: str | None = None, is_json: bool = False) -> bool:
    clock = Clock(answers)
    screen = open_screen(Console(file=io.StringIO()), is_json=is_json)
    return Watch(clock.look, screen, period_s=1, clock=lambda: clock.now, sleep=clock.sleep).follow(name)


READING = run(
    "one", "reading", table("a", "done", 5), table("b", "reading", 1200, 5000, rows_per_s=800.0), table("c", "queued")
)


def test_lines_tell_what_has_changed_and_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    done = run("one", "done", table("a", "done", 5), table("b", "done", 4999), table("c", "done", 1))
    assert watch(found(READING), found(READING), found(done))
    assert capsys.readouterr().out.splitlines() == [
        "public.a: done, 5 rows",
        "run one: public.b, 1,205 of about 5,005 rows, 800 rows/s, 5 s left, table 2 of 3",
        "public.b: done, 4,999 rows",
        "public.c: done, 1 row",
        "run one: done, 5,005 rows",
    ]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_the_outcome_decides(state: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert not watch(found(READING), found(run("one", state, table("b", state, 5, reason="it is locked"))))
    assert f"public.b: {state}, 5 rows: it is locked" in capsys.readouterr().out


def test_only_the_runs_that_had_not_ended_are_followed() -> None:
    failed = run("old", "failed")
    assert watch(found(failed, READING), found(failed, replace(READING, state="done")))
    assert not watch(found(failed), name="old")


def test_a_run_that_ditto_has_not_come_to_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert watch(*[found()] * 9, found(run("new", "done")), name="new")
    assert capsys.readouterr().out.splitlines() == [
        "run new: Ditto has not come to the request yet",
        "run new: done, 0 rows",
    ]


def test_without_any_it_ends_after_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    assert watch(found(run("old", "failed")))
    assert capsys.readouterr().err == "No snapshot runs.\n"
    assert watch(*[found()] * round(GRACE_S), found(READING), found(replace(READING, state="done")))
    assert watch(found(state="standby"))
    assert "does not stream (standby)" in capsys.readouterr().err


def test_a_ditto_that_is_away_for_a_while_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    gone = NoAnswer("no status from http://x: refused")
    assert watch(found(READING), gone, gone, found(replace(READING, state="done")))
    assert capsys.readouterr().err.count("waiting for it to come back") == 1
    with pytest.raises(NoAnswer):
        watch(gone, found(READING))


def test_a_run_of_which_a_restarted_ditto_knows_nothing() -> None:
    with pytest.raises(DittoError, match="run one has ended"):
        watch(found(READING), found())
    assert watch(found(READING), *[found(state="connecting")] * 9, found(replace(READING, state="done")))


def test_an_interruption_leaves_the_run_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        watch(found(READING), KeyboardInterrupt())  # type: ignore[arg-type]
    assert capsys.readouterr().err == (
        "Not watched any more, and nothing else has changed.\n  to end it: ditto snapshot cancel one\n"
    )


def test_an_interruption_gives_a_command_for_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    """`ditto snapshot cancel` takes one run, and needs the same configuration."""
    clock = Clock([found(READING, run("two", "waiting")), KeyboardInterrupt()])  # type: ignore[list-item]
    screen = open_screen(Console(file=io.StringIO()), is_json=False)
    again = " --config 'a b.yaml'"
    with pytest.raises(KeyboardInterrupt):
        Watch(clock.look, screen, period_s=1, again=again, clock=lambda: clock.now, sleep=clock.sleep).follow(None)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  to end it: ditto snapshot cancel one --config 'a b.yaml'",
        "  to end it: ditto snapshot cancel two --config 'a b.yaml'",
    ]


def test_json_is_an_object_a_look(capsys: pytest.CaptureFixture[str]) -> None:
    done = replace(READING, state="done")
    assert watch(found(run("old", "failed"), READING), found(done), is_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[(each["run"], each["state"]) for each in line["runs"]] for line in lines] == [
        [("one", "reading")],
        [("one", "done")],
    ]


def test_a_bar_on_a_terminal() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120)
    screen = open_screen(console, is_json=False)
    assert isinstance(screen, TerminalScreen)
    assert isinstance(open_screen(Console(file=io.StringIO()), is_json=False), PlainScreen)
    clock = Clock([found(READING), found(replace(READING, state="done"))])
    assert Watch(clock.look, screen, period_s=1, clock=lambda: clock.now, sleep=clock.sleep).follow(None)
    text = output.getvalue()
    assert "━" in text
    assert "1,205 of about 5,005 rows, 800 rows/s, 5 s left" in text
    assert "run one: done" in text


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (table("t", "queued"), "0 rows"),
        (table("t", "queued", 0, 1), "0 of about 1 row"),
        (table("t", "reading", 5, 3, rows_per_s=2.0), "5 rows, 2 rows/s"),
        (table("t", "reading", 1, 100_001, rows_per_s=1.0), "1 of about 100,001 rows, 1 rows/s, 28 h left"),
        (table("t", "failed", 1, 100_001, rows_per_s=1.0), "1 row"),
    ],
)
def test_progress(what: TableStatus, text: str) -> None:
    assert progress(what) == text


def test_the_table_of_all_runs(capsys: pytest.CaptureFixture[str]) -> None:
    many = run("many", "paused", *(table(f"t{number}", "queued") for number in range(100)), where="a > 1")
    odd = run("odd", "failed", table("x\x1b[2J", "failed", reason="no\nSELECT"), reason="r", max_rows_per_s=10)
    assert print_once(found(READING, many, odd), None, is_json=False)
    out = capsys.readouterr().out
    assert "run one" in out
    assert "public.b  reading, 1,200 of about 5,000 rows, 800 rows/s, 5 s left" in out
    assert "paused, request, 2026-01-02T03:04:05Z, 0 of 100 tables" in out
    assert "and 70 tables more" in out
    assert "\x1b" not in out
    assert not print_once(found(READING, odd), "odd", is_json=True)
    assert [each["run"] for each in json.loads(capsys.readouterr().out)["runs"]] == ["odd"]
    assert print_once(found(), None, is_json=False)
    assert capsys.readouterr().out == "There is no snapshot.\n"
    with pytest.raises(ConfigError, match="there is no run 'none'"):
        print_once(found(READING), "none", is_json=False)


def test_what_makes_no_sense_to_change() -> None:
    paused = run("20260102-030405-aaaaaa", "paused")
    known = found(READING, paused, run("old", "done"))
    assert why_not(known, "pause", "one") is why_not(known, "cancel", "one") is None
    assert why_not(known, "resume", paused.run) is why_not(known, "cancel", paused.run) is None
    for verb, name, words in (
        ("pause", paused.run, "paused already"),
        ("resume", "one", "not paused"),
        ("cancel", "old", "has ended: done"),
        ("cancel", "20260102-030405-aaaaab", "did you mean 20260102-030405-aaaaaa?"),
    ):
        objection = why_not(known, verb, name)  # type: ignore[arg-type]
        assert objection is not None
        assert words in objection.what


def test_runs_that_have_ended_are_forgotten_in_the_end() -> None:
    status = SnapshotStatus([run(str(number), "done") for number in range(2 * KEPT_RUNS)])
    status.runs.insert(0, READING)
    status.trim()
    assert [each.run for each in status.runs] == ["one", *(str(KEPT_RUNS + number) for number in range(KEPT_RUNS))]
    assert [each.run for each in status.unended()] == ["one"]
    assert status.find("one") is READING
