"""What the buckets say about pipelines and nodes."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from ditto.errors import PipelineUnknown
from ditto.fleet.assignment import Candidate, Wanted, assign
from ditto.fleet.bucket_copy import Copy
from ditto.fleet.buckets import Entry
from ditto.fleet.membership import Membership
from ditto.fleet.records import Assignment, Failure, NodeEntry, Problem, Readiness, Record, Running, WorkerEntry
from ditto.fleet.view import View


class Scene:
    """A view that is fed by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.view = View(Membership("n1", clock=lambda: self.now))
        self.view.is_connected = True
        self.view.begin()
        for copy in self.view.copies:
            self.view.take(copy, None)
        self._revision = 0

    def put(self, copy: Copy[msgspec.Struct], key: str, value: msgspec.Struct | None) -> int:
        self._revision += 1
        body = None if value is None else msgspec.json.encode(value)
        self.view.take(copy, Entry(key, body, self._revision))
        return self._revision

    def list_again(self) -> None:
        """After another connection: everything is as it was."""
        found = [
            (copy, key, value, copy.revisions[key]) for copy in self.view.copies for key, value in copy.values.items()
        ]
        self.view.begin()
        for copy, key, value, revision in found:
            self.view.take(copy, Entry(key, msgspec.json.encode(value), revision))
        for copy in self.view.copies:
            self.view.take(copy, None)

    def node(self, name: str, **more: object) -> None:
        entry = NodeEntry(name=name, instance=f"{name}-1", api_url=f"http://{name}")
        self.put(self.view.nodes_copy, name, msgspec.structs.replace(entry, **more))  # type: ignore[arg-type]

    def pipeline(self, name: str, **more: object) -> int:
        record = msgspec.structs.replace(Record(document={"postgres": {"slot": name}}), **more)
        return self.put(self.view.records, name, record)  # type: ignore[arg-type]

    def held(self, name: str, node: str, instance: str = "") -> None:
        value = Assignment(node=node, instance=instance or f"{node}-1")
        self.put(self.view.assignments, name, value)  # type: ignore[arg-type]

    def ready(self, node: str, judged: int, **missing: str) -> None:
        """The node has looked at everything up to this revision, and has what is missing there for some pipelines."""
        refused = {
            name: Failure(
                revision=self.view.records.revisions[name],
                attempt=self.view.records.values[name].attempt,
                kind="MissingHere", message=f"{what} is missing", hint=f"set {what}", code=2, at="", node=node,
            )
            for name, what in missing.items()
        }  # fmt: skip
        value = Readiness(instance=f"{node}-1", judged=judged, refused=refused)
        self.put(self.view.readiness, node, value)  # type: ignore[arg-type]

    def runs(self, name: str, node: str, **more: object) -> None:
        running = Running(name=name, state="streaming", reason="it works", revision=1)
        value = WorkerEntry(instance=f"{node}-1", pipelines=[msgspec.structs.replace(running, **more)])
        self.put(self.view.workers, f"{node}.1", value)  # type: ignore[arg-type]


def failure(revision: int, attempt: int = 0) -> Failure:
    return Failure(
        revision=revision,
        attempt=attempt,
        kind="SlotMissing",
        message="no slot",
        hint="make one",
        code=3,
        at="",
        node="n1",
    )


def test_states_from_nothing_to_streaming() -> None:
    scene = Scene()
    with pytest.raises(PipelineUnknown):
        scene.view.pipeline("shop")
    scene.pipeline("shop")
    assert (scene.view.pipeline("shop").state, scene.view.pipeline("shop").node) == ("unassigned", None)
    assert scene.view.pipeline("shop").reason == "no live node takes pipelines"
    assert hint_of(scene, "shop") == "start a node, or start one again that drains: ditto nodes shows all of them"
    scene.node("n1")
    assert (scene.view.pipeline("shop").state, scene.view.pipeline("shop").node) == ("assigned", "n1")
    scene.held("shop", "n1")
    assert scene.view.pipeline("shop").state == "assigned"
    ended = failure(1)
    scene.view.ended_here = {"shop": ended}.get
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.node, shown.reason) == ("failed", "n1", "no slot"), "the control plane will hear of it"
    assert shown.error is not None
    assert shown.error.hint == "make one"
    scene.view.ended_here = {"shop": failure(2)}.get
    assert scene.view.pipeline("shop").state == "assigned", "that was another revision"
    scene.runs("shop", "n1", lag_s=0.5)
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.node, shown.worker, shown.lag_s) == ("streaming", "n1", "1", 0.5)
    (node,) = scene.view.nodes()
    assert (node.state, node.pipelines, node.workers) == ("live", 1, 1)


def test_paused_and_failed() -> None:
    scene = Scene()
    scene.node("n1")
    revision = scene.pipeline("shop", paused=True, by="ci")
    assert (scene.view.pipeline("shop").state, scene.view.pipeline("shop").reason) == ("paused", "it was paused by ci")
    assert scene.view.targets() == {}
    revision = scene.pipeline("shop", attempt=1)
    failed = failure(revision, attempt=1)
    scene.put(scene.view.assignments, "shop", Assignment(failed=failed))  # type: ignore[arg-type]
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.node) == ("failed", "n1")
    assert shown.error is not None
    assert (shown.error.message, shown.error.hint, shown.error.code) == ("no slot", "make one", 3)
    assert scene.view.targets() == {}
    failed = msgspec.structs.replace(failed, record_at="in the bucket before this one")
    scene.put(scene.view.assignments, "shop", Assignment(failed=failed))  # type: ignore[arg-type]
    assert scene.view.targets() == {"shop": "n1"}, "the same revision, of another document"
    scene.put(scene.view.assignments, "shop", Assignment(failed=failure(revision, attempt=1)))  # type: ignore[arg-type]
    assert scene.view.targets() == {}
    scene.pipeline("shop", attempt=2)
    assert scene.view.targets() == {"shop": "n1"}


def test_a_dead_node_holds_nothing() -> None:
    scene = Scene()
    scene.node("n1")
    scene.node("n2")
    scene.pipeline("shop")
    scene.held("shop", "n2")
    scene.runs("shop", "n2")
    assert scene.view.pipeline("shop").node == "n2"
    for _ in range(5):
        scene.now += 1
        scene.view.membership.tick()
    scene.view.touch()
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.node) == ("assigned", "n1")
    assert "n2 is gone" in shown.reason
    assert [(each.name, each.state) for each in scene.view.nodes()] == [("n1", "live"), ("n2", "dead")]


def test_labels_and_drained_nodes() -> None:
    scene = Scene()
    scene.node("n1", draining=True)
    scene.pipeline("shop", document={"placement": {"labels": {"zone": "b"}}})
    assert scene.view.pipeline("shop").reason == "no live node takes pipelines"
    scene.node("n2", labels={"zone": "a"})
    assert "labels" in scene.view.pipeline("shop").reason
    scene.node("n2", labels={"zone": "b"}, max_pipelines=0)
    assert "full" in scene.view.pipeline("shop").reason
    scene.node("n2", labels={"zone": "b"})
    assert scene.view.targets() == {"shop": "n2"}


def test_what_runs_with_an_earlier_revision_is_changing() -> None:
    scene = Scene()
    scene.node("n1")
    former = scene.pipeline("shop")
    scene.held("shop", "n1")
    scene.runs("shop", "n1", revision=former)
    assert scene.view.pipeline("shop").state == "streaming"
    newest = scene.pipeline("shop", attempt=1)
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.revision, shown.running_revision) == ("changing", newest, former)
    assert shown.reason == f"revision {newest} is about to be taken; revision {former} is streaming"
    scene.runs("shop", "n1", revision=former, error=Problem(message=f"revision {newest} is refused: …"))
    assert scene.view.pipeline("shop").state == "streaming", "with the error: it stays so"
    scene.pipeline("shop", paused=True)
    assert scene.view.pipeline("shop").state == "changing"
    scene.runs("shop", "n1", revision=scene.pipeline("shop"))
    assert scene.view.pipeline("shop").state == "streaming"


async def test_waiting_for_a_revision_of_any_pipeline() -> None:
    scene = Scene()
    revision = scene.pipeline("shop")
    await scene.view.reach(revision, timeout_s=10)
    waiting = asyncio.create_task(scene.view.reach(revision + 1, timeout_s=10))
    await asyncio.sleep(0)
    assert not waiting.done()
    scene.pipeline("other")
    await waiting
    await scene.view.reach(revision + 9, timeout_s=0.05)
    await scene.view.reach(revision + 9, timeout_s=10)  # nobody waits again for what does not come
    scene.view.is_connected = False
    await scene.view.reach(revision + 99, timeout_s=10)


def test_what_would_run_nowhere_without_a_node() -> None:
    scene = Scene()
    scene.node("n1", labels={"zone": "a"})
    scene.node("n2", max_pipelines=1)
    scene.pipeline("labelled", document={"placement": {"labels": {"zone": "a"}}})
    assert scene.view.unplaced_without("n1") == ["labelled"]
    assert scene.view.unplaced_without("n2") == []
    for name in ("a", "b"):
        scene.pipeline(name)
    assert len(scene.view.unplaced_without("n1")) == 2, "the other one has room for one"
    scene.held("labelled", "n1")
    scene.node("n1", labels={"zone": "a"}, draining=True)
    assert "labelled" in scene.view.unplaced_without("n1"), "also while it drains"
    scene.pipeline("labelled", paused=True, document={"placement": {"labels": {"zone": "a"}}})
    assert "labelled" not in scene.view.unplaced_without("n1")


def test_an_older_revision_than_the_one_written_here_changes_nothing() -> None:
    scene = Scene()
    scene.pipeline("shop")
    scene.view.assignments.written("shop", Assignment(), 50)
    scene.held("shop", "n1")
    assert scene.view.assignments.values["shop"].node is None


def test_a_heartbeat_alone_is_no_change() -> None:
    scene = Scene()
    scene.node("n1")
    scene.pipeline("shop")
    targets = scene.view.targets()
    scene.node("n1", beat=7)
    assert scene.view.targets() is targets


def test_listing_again_forgets_what_is_gone() -> None:
    scene = Scene()
    scene.pipeline("old")
    kept = scene.pipeline("kept")
    scene.view.begin()
    states = [scene.view.is_current]
    assert set(scene.view.records.values) == {"old", "kept"}
    scene.view.take(scene.view.records, Entry("kept", msgspec.json.encode(Record(document={})), kept))
    for copy in scene.view.copies:
        scene.view.take(copy, None)
    assert [*states, scene.view.is_current] == [False, True]
    assert set(scene.view.records.values) == {"kept"}


def test_what_ditto_did_not_write_is_passed_over() -> None:
    scene = Scene()
    scene.view.take(scene.view.records, Entry("odd", b"no JSON", 1))
    assert scene.view.pipelines() == []


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"garbage",
        b"[]",
        b'{"document": {"a": "\xff"}}',
        b'{"document": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
        b'{"document": ' + b'{"a": ' * 50_000 + b"1" + b"}" * 50_001,
    ],
)
def test_an_entry_that_nobody_can_read_changes_nothing(value: bytes) -> None:
    scene = Scene()
    scene.pipeline("shop")
    for copy in scene.view.copies:
        scene.view.take(copy, Entry("x", value, 90))
    scene.view.take(scene.view.records, Entry("shop", value, 91))
    assert [each.name for each in scene.view.pipelines()] == ["shop"]
    assert scene.view.nodes() == []


def test_listing_again_keeps_what_was_there_before_an_entry_that_nobody_can_read() -> None:
    scene = Scene()
    scene.pipeline("shop")
    scene.view.begin()
    scene.view.take(scene.view.records, Entry("shop", b"garbage", 7))
    assert scene.view.records.lost() == {}
    scene.view.take(scene.view.records, None)
    assert [each.name for each in scene.view.pipelines()] == ["shop"]


def test_a_list_without_an_entry_that_nobody_has_deleted() -> None:
    scene = Scene()
    for name in ("deleted", "lost", "shop"):
        scene.pipeline(name)
    assert scene.view.records.oldest == 1
    assert scene.view.records.lost() == {}
    scene.view.begin()
    assert scene.view.records.oldest == 0, "what was known may have been written again"
    scene.put(scene.view.records, "deleted", None)  # type: ignore[arg-type]
    scene.pipeline("shop")
    assert scene.view.records.lost() == {"lost": 2}
    marker = scene.view.deleted["deleted"]
    asked = {"deleted": marker - 1, "lost": 1, "shop": 1}
    assert scene.view.deleted_since(asked) == ["deleted"]
    assert scene.view.deleted_since({"deleted": marker}) == []
    scene.pipeline("deleted")
    assert scene.view.deleted_since(asked) == []


def test_an_entry_in_the_place_of_another_node_is_nobodys() -> None:
    scene = Scene()
    scene.view.begin()
    scene.node("n2")
    scene.put(scene.view.nodes_copy, "n3", NodeEntry(name="n2", instance="n2-1", api_url=""))  # type: ignore[arg-type]
    for copy in scene.view.copies:
        scene.view.take(copy, None)
    assert [each.name for each in scene.view.nodes()] == ["n2"]
    assert not scene.view.membership.is_alive("n3", "n2-1")


def test_a_pipeline_that_runs_moves_only_to_a_node_that_has_looked_and_can() -> None:
    scene = Scene()
    revision = scene.pipeline("shop")
    scene.node("n1")
    scene.node("n2")
    first = scene.view.targets()["shop"]
    second = {"n1": "n2", "n2": "n1"}[first]
    scene.held("shop", second)
    assert scene.view.targets() == {"shop": second}, "the first choice has not looked yet"
    scene.ready(first, revision, shop="PASSWORD")
    assert scene.view.targets() == {"shop": second}
    scene.ready(first, revision)
    assert scene.view.targets() == {"shop": first}
    newer = scene.pipeline("shop", attempt=1)
    assert scene.view.targets() == {"shop": second}, "and not at this revision"
    scene.ready(first, newer)
    assert scene.view.targets() == {"shop": first}
    scene.ready(second, newer, shop="PASSWORD")
    scene.ready(first, newer, shop="PASSWORD")
    assert scene.view.targets() == {"shop": second}, "no other node can"


def test_one_that_runs_nowhere_goes_to_the_next_node_and_is_unassigned_where_none_can() -> None:
    scene = Scene()
    revision = scene.pipeline("shop")
    scene.node("n1")
    scene.node("n2")
    first = scene.view.targets()["shop"]
    second = {"n1": "n2", "n2": "n1"}[first]
    scene.ready(first, revision, shop="PASSWORD")
    assert scene.view.targets() == {"shop": second}
    scene.ready(second, revision, shop="ca.pem")
    assert scene.view.targets() == {}
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.node) == ("unassigned", None)
    assert shown.error is not None
    missing = {first: "PASSWORD", second: "ca.pem"}
    expected = "; ".join(f"{node}: {missing[node]} is missing" for node in ("n1", "n2"))
    assert shown.error.message == f"no live node can run it; {expected}"
    assert (shown.error.hint, shown.error.code) == (f"set {missing['n1']}; then it begins by itself", 2)
    scene.ready(second, revision, shop="PASSWORD")
    assert "n1 and n2: PASSWORD is missing" in scene.view.pipeline("shop").reason
    scene.node("n3")
    assert scene.view.targets() == {"shop": "n3"}, "a node that joins may have it"
    scene.ready("n3", revision, shop="PASSWORD")
    assert "n1, n2 and n3: PASSWORD is missing" in scene.view.pipeline("shop").reason
    scene.node("n1", instance="another")
    assert scene.view.targets() == {"shop": "n1"}, "another process of that node, too"
    scene.ready(second, revision)
    scene.node("n1", labels={"zone": "b"})
    scene.pipeline("shop", document={"placement": {"labels": {"zone": "b"}}})
    assert scene.view.targets() == {"shop": "n1"}


def test_a_revision_that_no_node_can_take_is_told_of_where_the_former_one_runs() -> None:
    scene = Scene()
    scene.node("n1")
    revision = scene.pipeline("shop")
    scene.held("shop", "n1")
    scene.runs("shop", "n1", revision=revision)
    newer = scene.pipeline("shop", attempt=1)
    scene.ready("n1", newer, shop="PASSWORD")
    shown = scene.view.pipeline("shop")
    assert shown.state == "streaming"
    assert shown.error is not None
    assert shown.error.message == (f"revision {newer} is refused: no live node can run it; n1: PASSWORD is missing")


def test_a_pipeline_is_not_handed_over_to_a_node_that_has_not_been_heard_of_since_the_nodes_were_listed() -> None:
    scene = Scene()
    name = next(
        each for each in map(str, range(99)) if assign([Wanted(each)], map(Candidate, ("n1", "n2")))[each] == "n2"
    )
    revision = scene.pipeline(name)
    for node in ("n1", "n2"):
        scene.node(node)
        scene.ready(node, revision)
    scene.held(name, "n1")
    assert scene.view.targets() == {name: "n2"}
    scene.list_again()
    assert scene.view.membership.is_alive("n2", "n2-1")
    assert scene.view.targets() == {name: "n1"}
    scene.node("n2", beat=1)
    assert scene.view.targets() == {name: "n2"}


def test_a_node_that_has_what_is_missing_elsewhere_is_named() -> None:
    scene = Scene()
    revision = scene.pipeline("shop")
    document = scene.view.records.values["shop"].document
    for name in ("n1", "n2"):
        scene.node(name)
    scene.ready("n1", revision, shop="PASSWORD")
    scene.ready("n2", revision)
    scene.held("shop", "n2")
    assert scene.view.obstacle("shop", document) is None
    scene.node("n2", draining=True)
    scene.held("shop", "n1")  # it is freed
    scene.put(scene.view.assignments, "shop", Assignment())  # type: ignore[arg-type]
    message = "no live node can run it; n1: PASSWORD is missing; n2 has it, and "
    hint = "start n2 again, or set PASSWORD; then it begins by itself"
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.node, shown.reason) == ("unassigned", None, f"{message}drains")
    assert shown.error is not None
    assert shown.error.hint == hint
    assert scene.view.obstacle("shop", document) == shown.error
    scene.pipeline("shop", attempt=1, action="restart")
    found = scene.view.obstacle("shop", document)
    assert found is not None, "nobody has looked at the new revision, which is the same document"
    assert scene.view.obstacle("shop", {"postgres": {"slot": "other"}}) is None
    scene.held("shop", "n2")
    for _ in range(5):
        scene.now += 1
        scene.view.membership.tick()
    scene.view.touch()
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.reason) == ("unassigned", f"{message}is dead")


def test_a_node_that_was_started_anew_does_not_wait_for_itself() -> None:
    scene = Scene()
    scene.pipeline("shop")
    scene.held("shop", "n1", instance="former")
    scene.node("n1")
    shown = scene.view.pipeline("shop")
    assert (shown.state, shown.node) == ("assigned", "n1")
    assert shown.reason == "node n1 has ended and is there again; it is about to start it"


def hint_of(scene: Scene, name: str) -> str | None:
    """That of the reason why it is unassigned, which is its error, too."""
    shown = scene.view.pipeline(name)
    assert shown.state == "unassigned"
    assert shown.error is not None
    assert (shown.error.message, shown.error.code) == (shown.reason, 5)
    return shown.error.hint


def test_why_no_node_runs_a_pipeline_is_said_before_and_after_it_is_stored() -> None:
    scene = Scene()
    scene.node("n1", labels={"zone": "a"}, max_pipelines=1)
    there, elsewhere = ({"placement": {"labels": {"zone": zone, "disk": "fast"}}} for zone in "ab")
    labels = "no live node has the labels disk=fast, zone=b (placement.labels)"
    found = scene.view.obstacle("shop", elsewhere)
    assert found is not None
    assert found.message == labels
    scene.pipeline("shop", document=elsewhere)
    assert scene.view.pipeline("shop").reason == labels
    assert "ditto nodes shows them" in str(hint_of(scene, "shop"))
    scene.node("n1", labels={"zone": "a", "disk": "fast"}, max_pipelines=1)
    assert scene.view.obstacle("shop", there) is None
    scene.pipeline("shop", document=there)
    assert scene.view.obstacle("shop", there) is None, "it has the place"
    full = "the nodes that could run it are full (max_pipelines: n1 takes 1)"
    found = scene.view.obstacle("orders", there)
    assert found is not None
    assert found.message == full
    scene.held("shop", "n1")
    scene.pipeline("orders", document=there)
    assert scene.view.pipeline("orders").reason == full
    assert hint_of(scene, "orders") == "start another node, or raise max_pipelines of one and restart it"
    scene.node("n2", labels={"zone": "a", "disk": "fast"}, max_pipelines=1)
    assert scene.view.obstacle("orders", there) is None
    scene.view.is_connected = False
    assert scene.view.obstacle("orders", elsewhere) is None, "nobody knows"
