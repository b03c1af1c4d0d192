"""Pipelines are handed over a few at a time."""

from __future__ import annotations

from ditto.fleet.handover import Handover
from unit.test_fleet_view import Scene


def test_the_next_ones_follow_when_the_first_ones_stream_elsewhere() -> None:
    scene = Scene()
    scene.node("n1")
    scene.node("n2")
    names = [f"p{number}" for number in range(6)]
    for name in names:
        scene.pipeline(name)
        scene.held(name, "n1")
    handover = Handover(scene.view, node="n1", clock=lambda: scene.now)
    assert handover.begin(names) == {"p0", "p1", "p2"}
    scene.now += 1
    assert handover.begin(names) == {"p0", "p1", "p2"}
    scene.held("p0", "n2")
    assert handover.begin(names[1:]) == {"p1", "p2"}, "p0 does not stream yet"
    scene.runs("p0", "n2", revision=scene.view.records.revisions["p0"])
    assert handover.begin(names[1:]) == {"p1", "p2", "p3"}
    scene.now += 2.5  # p1 and p2 are nowhere: they do not keep the others
    assert handover.begin(names[3:]) == {"p3", "p4", "p5"}


def test_of_many_more_at_a_time() -> None:
    scene = Scene()
    names = [f"p{number}" for number in range(200)]
    assert len(Handover(scene.view, node="n1", clock=lambda: scene.now).begin(names)) == 10
