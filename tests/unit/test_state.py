"""The states of a pipeline, and of a process."""

from __future__ import annotations

from ditto.monitoring.state import ProcessState, States, Transition


def test_states_are_kept_passed_on_and_free_of_secrets() -> None:
    states, told = States(now=lambda: 5.0), list[Transition]()
    states.listeners.append(told.append)
    states.enter("connecting", reason="x")
    states.enter("connecting", reason="again")
    states.enter("waiting", reason="cannot connect to postgres://u:secret@h/d", is_failure=True)
    assert [change.state for change in states.transitions] == ["starting", "connecting", "waiting"]
    assert told == list(states.transitions)[1:]
    assert "secret" not in told[-1].reason


def test_a_process_is_ready_when_all_of_its_pipelines_are() -> None:
    first, second = States(), States()
    process = ProcessState([first, second])
    assert (process.state, process.is_ready) == ("starting", False)
    first.enter("streaming", reason="a")
    second.enter("waiting", reason="b")
    assert (process.state, process.reason, process.is_ready) == ("waiting", "b", False)
    second.enter("standby", reason="c")
    assert (process.state, process.reason, process.is_ready) == ("streaming", "a", True)
