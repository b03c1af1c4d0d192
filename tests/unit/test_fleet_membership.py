"""Which nodes are alive, on one clock."""

from __future__ import annotations

import msgspec

from ditto.fleet.membership import DEAD_S, Membership, silence_s
from ditto.fleet.records import NodeEntry


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def entry(name: str) -> NodeEntry:
    return NodeEntry(name=name, instance=f"{name}-1", api_url="")


def live(membership: Membership) -> list[str]:
    return [each.name for each in membership.live()]


def pass_time(membership: Membership, clock: Clock, seconds: int, *beating: str) -> None:
    for _ in range(seconds):
        clock.now += 1
        for name in beating:
            membership.note(entry(name))
        membership.tick()


def begun(clock: Clock) -> Membership:
    membership = Membership("own", clock=clock)
    membership.begin({name: entry(name) for name in ("own", "n1", "n2")})
    pass_time(membership, clock, 10, "n1", "n2")
    return membership


def test_a_node_whose_entry_does_not_change_is_dead() -> None:
    clock = Clock()
    membership = begun(clock)
    assert live(membership) == ["n1", "n2", "own"]
    pass_time(membership, clock, int(DEAD_S), "n1")
    assert live(membership) == ["n1", "own"]
    assert not membership.is_alive("n2", "n2-1")
    assert [each.name for each in membership.all()] == ["n1", "n2", "own"]
    membership.note(entry("n2"))
    assert membership.is_alive("n2", "n2-1")
    assert not membership.is_alive("n2", "n2-0")


def test_a_node_that_the_control_plane_answers_late_may_be_silent_for_longer() -> None:
    clock = Clock()
    membership = begun(clock)
    assert (silence_s(0.1), silence_s(4.0), silence_s(1000.0)) == (DEAD_S, 13.0, 20.0)
    membership.note(msgspec.structs.replace(entry("n1"), silent_s=silence_s(4.0)))
    membership.note(msgspec.structs.replace(entry("n2"), silent_s=1e9))
    pass_time(membership, clock, 12)
    assert live(membership) == ["n1", "n2", "own"]
    pass_time(membership, clock, 1)
    assert live(membership) == ["n2", "own"]
    pass_time(membership, clock, 7)
    assert live(membership) == ["own"], "whatever it says"


def test_after_listing_nodes_get_time_to_come_back() -> None:
    clock = Clock()
    membership = Membership("own", clock=clock)
    membership.begin({"n1": entry("n1"), "n2": entry("n2")})
    membership.note(entry("n2"))  # this one has come back, and can go at once
    pass_time(membership, clock, int(DEAD_S) + 1)
    assert live(membership) == ["n1"]
    pass_time(membership, clock, int(DEAD_S) + 1)
    assert live(membership) == []


def test_one_that_was_frozen_itself_has_not_counted() -> None:
    clock = Clock()
    membership = begun(clock)
    clock.now += 60
    membership.tick()
    assert live(membership) == ["n1", "n2", "own"]
    pass_time(membership, clock, int(DEAD_S))
    assert live(membership) == ["own"]


def test_one_that_leaves_is_gone_at_once_and_a_dead_one_is_forgotten() -> None:
    clock = Clock()
    membership = begun(clock)
    membership.leave("n1")
    assert [each.name for each in membership.all()] == ["n2", "own"]
    pass_time(membership, clock, 700)
    assert "n2" in membership.forgotten()


def test_a_node_whose_entry_was_deleted_with_the_bucket_has_time_to_write_another_one() -> None:
    clock = Clock()
    membership = begun(clock)
    membership.begin({"own": entry("own"), "n1": entry("n1")})
    assert live(membership) == ["n1", "n2", "own"]
    pass_time(membership, clock, int(DEAD_S) - 1)
    assert membership.is_alive("n2", "n2-1")
    pass_time(membership, clock, 2, "n1")
    assert live(membership) == ["n1", "own"]
