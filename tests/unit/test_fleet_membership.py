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


NOW = 1000.0
"""By the server's clock, which has nothing to do with that of the node."""


def begin(membership: Membership, *names: str, **ages_s: float) -> None:
    """List the bucket: entries that have just been written, and older ones."""
    ages_s |= dict.fromkeys(names, 0.0)
    membership.begin({name: entry(name) for name in ages_s}, {name: NOW - age_s for name, age_s in ages_s.items()})


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
    begin(membership, "own", "n1", "n2")
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


def test_an_entry_that_was_written_long_ago_is_that_of_a_dead_node_from_the_first_look_on() -> None:
    clock = Clock()
    membership = Membership("own", clock=clock)
    begin(membership, "own", n1=0.9, n2=DEAD_S + 0.1, n3=-0.2, n4=700)
    assert live(membership) == ["n1", "n3", "own"]
    assert membership.forgotten() == ["n4"]
    assert [each.name for each in membership.all()] == ["n1", "n2", "n3", "own"]
    pass_time(membership, clock, int(DEAD_S), "n3")
    assert live(membership) == ["n3", "own"], "nobody has heard of n1"
    membership.note(entry("n2"))
    assert live(membership) == ["n2", "n3", "own"]


def test_a_node_that_was_dead_before_the_control_plane_was_away_stays_dead() -> None:
    clock = Clock()
    membership = begun(clock)
    pass_time(membership, clock, 10, "n1")
    assert live(membership) == ["n1", "own"]
    clock.now += 30
    begin(membership, "own", n1=30, n2=3)  # the server's clock was put back meanwhile
    assert live(membership) == ["n1", "own"], "n1 has time to come back"
    pass_time(membership, clock, int(DEAD_S) + 3)
    assert live(membership) == ["n1", "own"]
    pass_time(membership, clock, 2)
    assert live(membership) == ["own"]
    renewed = msgspec.structs.replace(entry("n2"), beat=7)
    membership.begin({"own": entry("own"), "n2": renewed}, {"own": NOW, "n2": NOW - 1})
    assert live(membership) == ["n2", "own"], "that is another entry"


def test_nobody_dies_while_nothing_is_heard_of_the_control_plane() -> None:
    clock = Clock()
    membership = begun(clock)
    pass_time(membership, clock, 6, "n1")
    clock.now += 3600
    assert live(membership) == ["n1", "own"]
    assert [each.name for each in membership.all()] == ["n1", "n2", "own"]


def test_a_node_is_renewed_by_an_entry_since_the_bucket_was_listed() -> None:
    membership = Membership("own", clock=Clock())
    begin(membership, "own", "n1")
    assert membership.is_renewed("own")
    assert not membership.is_renewed("n1")
    assert [membership.note(entry("n1")), membership.note(entry("n1"))] == [True, False]
    assert membership.is_renewed("n1")
    begin(membership, "own", "n1")
    assert not membership.is_renewed("n1")


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
    begin(membership, "own", "n1")
    assert live(membership) == ["n1", "n2", "own"]
    pass_time(membership, clock, int(DEAD_S) - 1)
    assert membership.is_alive("n2", "n2-1")
    pass_time(membership, clock, 2, "n1")
    assert live(membership) == ["n1", "own"]
