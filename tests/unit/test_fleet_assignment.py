"""Which node runs which pipeline."""

from __future__ import annotations

from collections import Counter

from ditto.fleet.assignment import Candidate, Wanted, assign

PIPELINES = [Wanted(f"pipeline{number}") for number in range(200)]


def nodes(*names: str, **more: int) -> list[Candidate]:
    return [Candidate(name, max_pipelines=more.get("max_pipelines", 1000)) for name in names]


def test_pipelines_spread_over_the_nodes() -> None:
    counts = Counter(assign(PIPELINES, nodes("n1", "n2", "n3", "n4")).values())
    assert sum(counts.values()) == 200
    assert min(counts.values()) > 30


def test_the_order_of_pipelines_and_nodes_decides_nothing() -> None:
    expected = assign(PIPELINES, nodes("n1", "n2", "n3", max_pipelines=70))
    assert assign(PIPELINES[::-1], nodes("n3", "n1", "n2", max_pipelines=70)) == expected


def test_only_pipelines_of_a_node_that_goes_or_comes_move() -> None:
    before = assign(PIPELINES, nodes("n1", "n2", "n3"))
    after = assign(PIPELINES, nodes("n1", "n3"))
    assert {name for name in before if before[name] != after[name]} == {n for n, at in before.items() if at == "n2"}


def test_no_node_gets_more_than_it_takes() -> None:
    found = assign(PIPELINES, nodes("n1", "n2", max_pipelines=60))
    assert Counter(found.values()) == {"n1": 60, "n2": 60}
    assert assign(PIPELINES, nodes("n1", max_pipelines=0)) == {}


def test_a_full_node_keeps_what_it_runs() -> None:
    running = assign(PIPELINES[:50], nodes("n1", max_pipelines=50))
    assert assign(PIPELINES, nodes("n1", max_pipelines=50), running) == running


def test_labels_are_a_subset() -> None:
    able = [Candidate("n1", {"zone": "a", "disk": "fast"}), Candidate("n2", {"zone": "b"})]
    wanted = [Wanted("x", {"zone": "a"}), Wanted("y", {"zone": "b", "disk": "fast"}), Wanted("z", {"disk": "fast"})]
    assert assign(wanted, able) == {"x": "n1", "z": "n1"}


def test_a_full_node_makes_room_for_what_only_it_can_run() -> None:
    able = [Candidate("n1"), Candidate("n2", {"zone": "b"}, max_pipelines=1)]
    anywhere = [each for each in PIPELINES if assign([each], able) == {each.name: "n2"}][:1]
    wanted = [*anywhere, Wanted("only-there", {"zone": "b"}), Wanted("too-many", {"zone": "b"})]
    running = {anywhere[0].name: "n2"}
    expected = {anywhere[0].name: "n1", "only-there": "n2"}
    assert assign(wanted, able, running) == expected
    assert assign(wanted, able, expected) == expected
    assert assign(wanted, able[1:], running) == running  # nothing is stopped that could not go on elsewhere
