"""The API of a fleet: what each route answers. The node is a fake, its application the real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from ditto.api.fleet import deletion
from ditto.errors import ConnectionLost, ControlPlaneLost
from unit.fleet_fakes import DOCUMENT, ROLES, FakeNode, client_of, failed, summary
from unit.fleet_routes import ADMIN, BODIES, NEEDED, OPERATE, READ, ask, filled, problem, put


async def test_a_change_says_which_revision_it_changes() -> None:
    node = FakeNode()
    assert problem(await ask(node, "PUT", "/v1/pipelines/shop", body=DOCUMENT)) == (428, "RevisionMissing")
    created = await put(node, "shop", DOCUMENT)
    assert (created.status_code, created.headers["etag"]) == (201, '"1"')
    assert created.json()["change"] == {"effect": "start", "keys": []}
    assert problem(await ask(node, "PUT", "/v1/pipelines/shop", body=DOCUMENT, If_None_Match="*"))[0] == 412

    longer = {**DOCUMENT, "delivery": {"lease_ttl": "20s"}}
    for given in ('"7"', "no-number", '"1', ""):
        found = problem(await ask(node, "PUT", "/v1/pipelines/shop", body=longer, If_Match=given))
        assert found == (412, "RevisionConflict")
    assert len(node.store.revisions["shop"]) == 1, "nothing was stored"
    code, done = await ask(node, "PUT", "/v1/pipelines/shop", body=longer, If_Match='"1"')
    assert (code, done["revision"]) == (200, 2)
    assert done["change"] == {"effect": "restart", "keys": ["delivery.lease_ttl"]}
    code, done = await ask(node, "PUT", "/v1/pipelines/shop", body=longer, If_Match="*")
    assert (code, done["revision"], done["change"]["effect"]) == (200, 2, "nothing"), "the same again: no new revision"
    assert problem(await ask(node, "PUT", "/v1/pipelines/other", body=longer, If_Match='"1"'))[0] == 412
    assert problem(await ask(node, "DELETE", "/v1/pipelines/shop"))[0] == 428
    assert problem(await ask(node, "DELETE", "/v1/pipelines/shop", If_Match='"1"'))[0] == 412
    assert problem(await ask(node, "POST", "/v1/pipelines/shop/pause", If_Match='"1"'))[0] == 412
    assert (await ask(node, "POST", "/v1/pipelines/shop/pause", If_Match="2"))[0] == 200


@pytest.mark.parametrize(
    ("more", "effect", "keys"),
    [
        ({"events": {"tables": {"orders": ["insert"]}}}, "reload", ["events.tables"]),
        ({"delivery": {"max_in_flight": 5}}, "restart", ["delivery.max_in_flight"]),
        ({"nats": {**DOCUMENT["nats"], "stream": "OTHER"}}, "new slot", ["nats.stream"]),
        ({"log": {"level": "debug"}}, "nothing", []),
    ],
)
async def test_a_change_says_what_it_does(more: dict[str, Any], effect: str, keys: list[str]) -> None:
    node = await filled()
    path, document = "/v1/pipelines/shop", {**DOCUMENT, **more}
    code, planned = await ask(node, "PUT", f"{path}?dry_run=true", body=document)
    assert (code, planned["dry_run"], planned["revision"]) == (200, True, 1)
    assert planned["change"] == {"effect": effect, "keys": keys}
    assert len(node.store.revisions["shop"]) == 1
    code, done = await ask(node, "PUT", path, body=document, If_Match='"1"')
    assert (code, done["change"], done["revision"]) == (200, planned["change"], 2)
    assert done["notes"] == (["log is ignored: the node decides that"] if "log" in more else [])


async def test_a_document_without_postgresql_is_noted() -> None:
    node = await filled()
    document = {**DOCUMENT, "postgres": {"slot": "shop"}}
    _, planned = await ask(node, "PUT", "/v1/pipelines/shop?dry_run=true", body=document)
    server = "postgres://localhost:5432/postgres"
    assert planned["notes"] == [f"postgres.dsn is not given: {server}, as the node that runs it sees that"]


@pytest.mark.parametrize(
    ("document", "code", "part"),
    [
        ({"postgres": {"dsn": "postgres://u:hunter2@h/d"}}, 422, "postgres.dsn has a secret written out"),
        ({"nats": {"password": "hunter2", "user": "u"}}, 422, "nats.password"),
        ({"postgres": {"slotname": "x"}}, 422, "did you mean postgres.slot?"),
        ({"delivery": {"max_in_flight": 0}}, 422, "must be at least 1"),
        ({"name": "another"}, 422, "the document's own name is not new"),
        ({"nats": {"user": "u", "token": "${T}"}}, 422, "exclude each other"),
        ({"webhook": {"url": "http://[::1"}}, 422, "webhook.url"),
        (json.loads('{"a":' * 400 + "1" + "}" * 400), 422, "nested more than 32 levels deep"),
        ([], 400, "the body must be a mapping, not a list"),
        (None, 400, "the request has no body"),
    ],
)
async def test_a_document_that_cannot_be_is_refused_with_the_sentence_of_a_start(
    document: Any, code: int, part: str
) -> None:
    node = FakeNode()
    found = await ask(node, "PUT", "/v1/pipelines/new", body=document, If_None_Match="*")
    assert problem(found)[0] == code, found
    assert part in found[1]["detail"]
    assert "hunter2" not in json.dumps(found)
    assert not node.store.revisions


async def test_a_reference_that_only_another_node_can_resolve_is_taken_and_said() -> None:
    node = FakeNode()
    document = {
        "postgres": {"dsn": "postgres://ditto:${NOT_HERE}@db/shop"},
        "nats": {"user": "ditto", "password": "file:/run/secrets/not-here"},
        "delivery": {"max_in_flight": "${NOT_HERE_EITHER}"},
    }
    code, done = await ask(node, "PUT", "/v1/pipelines/shop", body=document, If_None_Match="*")
    assert code == 201, done
    assert all(key in done["notes"][0] for key in ("postgres.dsn", "nats.password", "delivery.max_in_flight"))
    found = await ask(node, "PUT", "/v1/pipelines/b", body={**document, "postgres": {"slott": "x"}}, If_None_Match="*")
    assert problem(found)[0] == 422, "what can be looked at is looked at"


async def test_history_and_rollback() -> None:
    node = await filled()
    path = "/v1/pipelines/shop"
    await ask(node, "PUT", path, body={**DOCUMENT, "delivery": {"lease_ttl": "20s"}}, If_Match='"1"')
    await ask(node, "POST", f"{path}/pause", role="operate")
    _, history = await ask(node, "GET", f"{path}/history", role="read")
    told = [(each["revision"], each["action"], each["by"], each["paused"]) for each in history["revisions"]]
    assert told == [(3, "pause", "operate", True), (2, "apply", "admin", False), (1, "apply", "admin", False)]
    assert [(each["change"]["effect"], each["change"]["keys"]) for each in history["revisions"]] == [
        ("stop", []),
        ("restart", ["delivery.lease_ttl"]),
        ("start", []),
    ]
    assert (await ask(node, "GET", f"{path}?revision=1"))[1]["document"] == DOCUMENT
    assert problem(await ask(node, "GET", f"{path}?revision=99"))[0] == 404
    assert problem(await ask(node, "POST", f"{path}/rollback", body={"revision": 1}))[0] == 428
    assert problem(await ask(node, "POST", f"{path}/rollback", body={"revision": 9}, If_Match='"3"'))[0] == 404
    assert problem(await ask(node, "POST", f"{path}/rollback", body={"revision": 1}, If_Match='"2"'))[0] == 412
    code, planned = await ask(node, "POST", f"{path}/rollback?dry_run=true", body={"revision": 1})
    assert (code, planned["change"]["effect"], len(node.store.revisions["shop"])) == (200, "restart", 3)
    code, done = await ask(node, "POST", f"{path}/rollback", body={"revision": 1}, If_Match='"3"')
    assert (code, done["revision"]) == (200, 4)
    _, now = await ask(node, "GET", path)
    assert (now["document"], now["paused"], now["action"], now["by"]) == (DOCUMENT, True, "rollback", "admin")
    code, done = await ask(node, "POST", f"{path}/rollback", body={"revision": 1}, If_Match='"4"')
    assert (code, done["revision"]) == (200, 4), "that document already"
    # A reference that this node cannot resolve is answered as an apply answers it.
    elsewhere = {**DOCUMENT, "postgres": {**DOCUMENT["postgres"], "dsn": "${NOT_SET_HERE}"}}
    _, applied = await ask(node, "PUT", path, body=elsewhere, If_Match='"4"')
    await ask(node, "PUT", path, body=DOCUMENT, If_Match='"5"')
    code, done = await ask(node, "POST", f"{path}/rollback", body={"revision": 5}, If_Match='"6"')
    assert (code, done["notes"]) == (200, applied["notes"])
    assert "postgres.dsn: this node cannot resolve the reference" in done["notes"][0]


async def test_a_document_is_whole_for_those_who_may_change_it_only() -> None:
    node = FakeNode()
    hook = {"postgres": DOCUMENT["postgres"], "webhook": {"url": "https://hooks.example.com/services/hunter2"}}
    assert (await put(node, "shop", hook)).status_code == 201
    await put(node, "shop", {**hook, "events": {"prefix": "shop"}}, **{"If-Match": "*"})
    for role in ROLES:
        async with client_of(node, role) as client:
            newest = await client.get("/v1/pipelines/shop")
            assert newest.headers["ETag"] == '"2"'
            for found in (newest, await client.get("/v1/pipelines/shop?revision=1")):
                url = found.json()["document"]["webhook"]["url"]
                assert url == ("https://hooks.example.com/***" if role == "read" else hook["webhook"]["url"])
            assert "hunter2" not in (await client.get("/v1/pipelines/shop/history")).text
    assert (await node.store.get("shop")).record.document["webhook"] == hook["webhook"], "what is kept stays"


async def test_pause_resume_restart() -> None:
    node = await filled()
    path = "/v1/pipelines/shop"

    async def act(verb: str) -> tuple[int, bool, bool, int]:
        _, done = await ask(node, "POST", f"{path}/{verb}", role="operate")
        record = node.store.revisions["shop"][-1].record
        return done["revision"], done["changed"], record.paused, record.attempt

    assert await act("resume") == (1, False, False, 0), "it is neither paused nor failed"
    assert await act("pause") == (2, True, True, 0)
    assert await act("pause") == (2, False, True, 0)
    assert await act("restart") == (3, True, True, 1), "it stays paused"
    assert await act("resume") == (4, True, False, 2)
    node.view.summaries["shop"] = failed("shop", 4)
    assert await act("resume") == (5, True, False, 3), "one that has failed is tried again"


async def test_what_is_not_there() -> None:
    node = await filled()
    for method, path in NEEDED:
        elsewhere = path.replace("shop", "nothing").replace("n1", "n9")
        if elsewhere == path or method == "PUT":
            continue
        found = await ask(node, method, elsewhere, body=BODIES.get((method, path)), If_Match='"1"')
        assert problem(found)[0] == 404, (elsewhere, found)
    assert problem(await ask(node, "GET", "/v1/pipelines/a..b"))[0] == 404
    assert problem(await ask(node, "PUT", "/v1/pipelines/a..b", body=DOCUMENT, If_None_Match="*"))[0] == 422
    assert problem(await ask(node, "POST", "/v1/pipelines/shop/snapshots/run9/pause"))[0] == 404
    assert (await ask(node, "GET", "/v1/nothing"))[0] == 404
    assert (await ask(node, "PATCH", "/v1/pipelines/shop"))[0] == 405


async def test_while_the_control_plane_is_away_everything_else_is_answered() -> None:
    node = await filled()
    node.store.fault = ControlPlaneLost("the control plane is away", hint="wait")
    async with client_of(node) as client:
        answer = await client.get("/v1/pipelines/shop")
        assert problem((answer.status_code, answer.json())) == (503, "ControlPlaneLost")
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["code"] == 5
        assert (await client.get("/v1/pipelines")).status_code == 200
        assert (await client.get("/v1/nodes")).status_code == 200
        assert (await client.post("/v1/pipelines/shop/pause")).status_code == 503


async def test_no_node_drains_while_the_control_plane_is_away() -> None:
    node = await filled()
    node.view.is_current = False
    assert problem(await ask(node, "POST", "/v1/nodes/n1/drain")) == (503, "ControlPlaneLost")
    assert node.requests.asked == []
    node.view.is_current = True
    assert (await ask(node, "POST", "/v1/nodes/n1/drain"))[0] == 202


async def test_a_node_that_knows_nothing_yet_says_so() -> None:
    node = await filled()
    node.state, node.is_ready, node.reason = "connecting", False, "it connects to the control plane"
    for method, path in (*READ, *OPERATE, *ADMIN):
        if path == "/metrics":
            continue
        async with client_of(node) as client:
            answer = await client.request(method, path, json=BODIES.get((method, path)))
            assert problem((answer.status_code, answer.json())) == (503, "NodeStarting"), path
            assert answer.headers["retry-after"] == "2"
            assert "node n1 is starting: it connects to the control plane" in answer.json()["detail"]
    assert not node.requests.asked
    assert problem(await ask(node, "POST", "/v1/pipelines/shop/pause", role="read"))[0] == 403
    assert (await ask(node, "GET", "/schema/openapi.json"))[0] == 200


async def test_no_snapshot_is_asked_for_of_a_pipeline_that_is_paused() -> None:
    node = await filled()
    assert (await ask(node, "POST", "/v1/pipelines/shop/pause"))[0] == 200
    for path in ("snapshots", "snapshots/run1/pause", "snapshots/run1/cancel"):
        found = await ask(node, "POST", f"/v1/pipelines/shop/{path}", body={"tables": []} if path[9:] == "" else None)
        assert problem(found) == (409, "NotRunning")
        assert "pipeline shop does not run: it is paused" in found[1]["detail"]
        assert "ditto pipelines resume shop" in found[1]["hint"]
    assert not node.requests.asked


async def test_snapshots_are_asked_of_the_node_that_runs_the_pipeline() -> None:
    node = await filled()
    path = "/v1/pipelines/shop/snapshots"
    for role, where in (("operate", "name = 'hunter2'"), ("read", None)):
        _, found = await ask(node, "GET", path, role=role)
        assert [(each["run"], each["where"]) for each in found["runs"]] == [("run1", where)], role
    assert await ask(node, "POST", path, role="operate", body={"tables": ["orders"]}) == (202, {"run": "run1"})
    assert (await ask(node, "POST", f"{path}/run1/pause", role="operate"))[0] == 202
    assert problem(await ask(node, "POST", f"{path}/run1/resume")) == (409, "NotPossibleNow"), "it is not paused"
    unknown = await ask(node, "POST", f"{path}/run7/cancel")
    assert problem(unknown) == (404, "SnapshotUnknown")
    assert unknown[1]["hint"] == f"GET {path} lists all runs"
    assert node.requests.asked == [("start", "shop", "orders"), ("pause", "shop", "run1")]
    assert (await ask(node, "POST", path, body={"tabels": []}))[0] == 400
    node.requests.runs.clear()
    assert problem(await ask(node, "GET", path)) == (409, "NotRunning")


async def test_every_change_is_in_the_log_with_who_and_what() -> None:
    node = FakeNode()
    with capture_logs() as logs:
        await put(node, "shop", DOCUMENT)
        await ask(node, "POST", "/v1/pipelines/shop/pause", role="operate")
        await ask(node, "POST", "/v1/pipelines/shop/pause", role="operate")
        await ask(node, "POST", "/v1/nodes/n1/drain", role="operate")
        await ask(node, "DELETE", "/v1/pipelines/shop", If_Match='"2"')
        await ask(node, "GET", "/v1/pipelines")
    told = [(each["event"], each["who"], each["what"], each.get("revision")) for each in logs]
    assert told == [
        ("audit", "admin", "apply", 1),
        ("audit", "operate", "pause", 2),
        ("audit", "operate", "drain", None),
        ("audit", "admin", "delete", 2),
    ], "what changes nothing is not there"
    assert {each["client"] for each in logs} == {"10.1.2.3"}


async def test_a_deletion_says_what_stays() -> None:
    node = await filled()
    await put(node, "trades", DOCUMENT)
    refused = await ask(node, "DELETE", "/v1/pipelines/trades?drop_slot=true", If_Match="*")
    assert problem(refused) == (409, "NotPossibleNow")
    assert "is also that of pipeline shop, and is not dropped" in refused[1]["detail"]
    _, done = await ask(node, "DELETE", "/v1/pipelines/trades", If_Match="*")
    assert done["kept"] == [
        "the replication slot shop stays, if there is one: it is also that of pipeline shop",
        "the publication ditto stays, if there is one: it is also that of pipeline shop",
        "the stream SHOP stays with its events, if there is one: it is also that of pipeline shop",
    ]
    code, done = await ask(node, "DELETE", "/v1/pipelines/shop", If_Match='"1"')
    assert (code, done["slot"], done["slot_dropped"]) == (200, "shop", False)
    slot, publication, stream = done["kept"]
    assert "ditto slot drop --slot shop" in slot
    assert 'DROP PUBLICATION "ditto"' in publication
    assert "nats stream rm SHOP" in stream
    assert "shop" not in node.store.revisions


async def test_a_slot_that_cannot_be_dropped_leaves_the_pipeline_as_it_was() -> None:
    node = await filled()
    code, document = await ask(node, "DELETE", "/v1/pipelines/shop?drop_slot=true", If_Match='"1"')
    assert (code, document["code"]) == (503, 3)
    assert document["detail"].endswith("; pipeline shop is not deleted, and goes on as before")
    assert len(node.store.revisions["shop"]) == 1


async def test_a_slot_that_cannot_be_dropped_any_more_leaves_the_pipeline_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def connected(_dsn: str) -> AsyncIterator[None]:
        yield

    answers = [None, ConnectionLost("the connection to PostgreSQL ended", hint="look at it")]

    async def find(*_: object) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(deletion, "open_control", connected)
    monkeypatch.setattr(deletion, "find_slot", find)
    node = await filled()
    code, document = await ask(node, "DELETE", "/v1/pipelines/shop?drop_slot=true", If_Match='"1"')
    said = "the connection to PostgreSQL ended; pipeline shop is not deleted, and is paused"
    assert (code, document["detail"], document["hint"]) == (503, said, "look at it")
    assert node.store.revisions["shop"][-1].record.paused


@pytest.mark.parametrize(
    ("query", "sentence", "hint"),
    [
        ("last=abc", "last must be a whole number from 1 to 1000", "Begin so many messages before the end"),
        ("last=0", "last must be a whole number from 1 to 1000", "Begin so many messages before the end"),
        ("action=upsert", "action must be one of insert, update, delete, truncate, read, message", "Only these"),
    ],
)
async def test_a_parameter_that_cannot_be_is_refused_with_what_it_can_be(query: str, sentence: str, hint: str) -> None:
    code, document = await ask(await filled(), "GET", f"/v1/pipelines/shop/events?{query}")
    assert (code, document["detail"]) == (400, sentence)
    assert document["hint"].startswith(hint)


async def test_a_status_without_a_node_says_why() -> None:
    node = await filled()
    node.view.summaries["shop"] = summary("shop", state="failed", reason="gone")
    code, found = await ask(node, "GET", "/v1/pipelines/shop/status", role="read")
    assert (code, found["summary"]["state"], found["status"]) == (200, "failed", None)
    assert "does not run" in found["reason"]


async def test_bodies_are_limited() -> None:
    node = await filled()
    large = {"events": {"tables": {f"table_{number}": ["insert"] for number in range(30_000)}}}
    assert problem(await ask(node, "PUT", "/v1/pipelines/shop", body=large, If_Match='"1"'))[0] == 413
    assert problem(await ask(node, "POST", "/v1/pipelines/shop/snapshots", body={"tables": ["x" * 70_000]}))[0] == 413


async def test_an_unexpected_error_is_a_problem_too_and_quotes_nothing() -> None:
    node = await filled()

    def break_down() -> Any:
        raise ValueError("hunter2")

    node.view.pipelines = break_down
    with capture_logs() as logs:
        code, found = await ask(node, "GET", "/v1/pipelines")
    assert (code, found["code"]) == (500, 1)
    assert "hunter2" not in json.dumps(found)
    assert [(each["event"], each["kind"]) for each in logs] == [("http.failed", "ValueError")]
    assert "hunter2" not in repr(logs)


async def test_a_body_that_is_nested_too_deeply() -> None:
    async with client_of(await filled()) as client:
        headers = {"Content-Type": "application/json", "If-Match": '"1"'}
        for body in ("[" * 50_000, '{"events":{"tables":{"x":' + "[" * 950 + "]" * 950 + "}}}"):
            answer = await client.put("/v1/pipelines/shop", content=body, headers=headers)
            assert problem((answer.status_code, answer.json()))[0] == 400
            assert "nested too deeply" in answer.json()["detail"]
