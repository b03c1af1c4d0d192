"""The API of real nodes: every one answers for the whole fleet, to each role what it may."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from fleet_openapi import expectations, headers
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from ditto.api.fleet.auth import digest
from ditto.tasks import end
from e2e.fleet.fleet import Fleet, document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ditto.testing.servers import NatsServer
    from e2e.world import World

ROLES = ("read", "operate", "admin")
TOKENS = {role: f"ditto_token-of-{role}" for role in ROLES}
AUTH = json.dumps([{"name": role, "role": role, "sha256": digest(token)} for role, token in TOKENS.items()])


@asynccontextmanager
async def client(fleet: Fleet, node: str, role: str | None = "admin") -> AsyncIterator[httpx.AsyncClient]:
    """Asks this node."""
    given = {} if role is None else {"Authorization": f"Bearer {TOKENS[role]}"}
    url = fleet.node(node).api_url
    async with httpx.AsyncClient(base_url=url, headers=given, trust_env=False, timeout=60) as made:
        yield made


async def first_event(stream: httpx.Response) -> tuple[str, dict[str, Any]]:
    """Kind and document of the first server-sent event."""
    kind = ""
    async with asyncio.timeout(30):
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            kind = value if name == "event" else kind
            if name == "data":
                return kind, json.loads(value)
    raise AssertionError("the stream has ended")


@asynccontextmanager
async def inserting(world: World) -> AsyncIterator[None]:
    """Rows, again and again: a stream of events begins with what is stored after it was opened."""

    async def insert() -> None:
        for number in range(1, 10_000):
            world.sql(f"INSERT INTO other VALUES ({number})", f"INSERT INTO orders VALUES ({number}, 'hunter2')")
            await asyncio.sleep(0.1)

    task = asyncio.create_task(insert())
    try:
        yield
    finally:
        await end(task)


async def test_every_node_answers_for_the_whole_fleet(fleet: Fleet, world: World) -> None:
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, note text)", "CREATE TABLE other (id int PRIMARY KEY)")
    async with fleet.watching():
        for name in ("n1", "n2"):
            fleet.start(name, auth_tokens=AUTH)
        await fleet.live("n1", "n2")
        async with client(fleet, "n1") as one:
            created = await one.put("/v1/pipelines/shop", json=document(world), headers={"If-None-Match": "*"})
            assert created.status_code == 201, created.text
        await fleet.streams("shop")
        runs = fleet.pipeline("shop").node
        other = "n2" if runs == "n1" else "n1"
        async with client(fleet, other) as away, client(fleet, other, "read") as reader:
            listed = (await reader.get("/v1/pipelines")).json()["pipelines"]
            assert [(each["name"], each["node"], each["state"]) for each in listed] == [("shop", runs, "streaming")]
            told = (await reader.get("/v1/pipelines/shop/status")).json()
            assert told["status"]["process"]["state"] == "streaming"
            assert [each["name"] for each in (await reader.get("/v1/nodes")).json()["nodes"]] == ["n1", "n2"]
            checked = (await away.post("/v1/pipelines/shop/validate")).json()
            assert checked["change"]["effect"] == "nothing"
            assert {"role.connect", "slot.state", "stream.tail"} & {each["check"] for each in checked["findings"]}

            # The live tail, with a filter; values only for whom may see them.
            async with (
                away.stream("GET", "/v1/pipelines/shop/events?table=orders&action=insert") as whole,
                reader.stream("GET", "/v1/pipelines/shop/events?table=orders&action=insert") as hidden,
            ):
                assert whole.headers["content-type"].startswith("text/event-stream")
                async with inserting(world):
                    kind, event = await first_event(whole)
                    assert (kind, event["table"], event["data"]["note"]) == ("change", "orders", "hunter2")
                    kind, event = await first_event(hidden)
                assert (kind, event["table"], event["columns"]) == ("change", "orders", ["id", "note"])
                assert "hunter2" not in json.dumps(event)

            # A snapshot, asked of the node that does not run the pipeline.
            started = await away.post("/v1/pipelines/shop/snapshots", json={"tables": ["orders"]})
            assert started.status_code == 202, started.text
            run = started.json()["run"]
            await until(lambda: snapshot_state(reader, run), "done")
            refused = await away.post("/v1/pipelines/shop/snapshots", json={"tables": ["nothing"]})
            assert (refused.status_code, refused.json()["detail"]) == (422, "there is no table nothing")
            async with client(fleet, str(runs), "read") as there:
                assert 'pipeline="shop"' in (await there.get("/metrics")).text
                await each_change_is_seen_at_once(away, [away, there], document(world))

            # Paused here, stopped there; deleted with its slot, which is held until then.
            assert (await away.post("/v1/pipelines/shop/pause")).json()["changed"]
            refused = await away.post("/v1/pipelines/shop/snapshots", json={"tables": ["orders"]})
            assert (refused.status_code, "does not run" in refused.json()["detail"]) == (409, True), refused.text
            await fleet.is_in("shop", "paused")
            await world.slot_is_free()
            assert (await away.post("/v1/pipelines/shop/resume")).status_code == 200
            await fleet.streams("shop")
            tag = (await away.get("/v1/pipelines/shop")).headers["etag"]
            gone = await away.delete("/v1/pipelines/shop?drop_slot=true", headers={"If-Match": tag})
            assert gone.status_code == 200, gone.text
            assert gone.json()["slot_dropped"]
            assert not world.sql(f"SELECT FROM pg_replication_slots WHERE slot_name = '{world.name}'")
            assert (await reader.get("/v1/pipelines/shop")).status_code == 404


async def each_change_is_seen_at_once(
    writer: httpx.AsyncClient, readers: list[httpx.AsyncClient], made: dict[str, Any]
) -> None:
    """Whichever node is asked, the answer is about the revision that was made, never the state of the one before."""
    path = "/v1/pipelines/shop"
    for number in range(10):
        changed = {**made, "events": {**made["events"], "tables": {"orders": ["insert"]}}} if number % 2 else made
        done = await writer.put(path, json=changed, headers={"If-Match": "*"})
        for reader in readers:
            check(await reader.get(f"{path}/status"), done, may_be_paused=False)
        verb = "restart" if number % 2 else "pause"
        done = await writer.post(f"{path}/{verb}")
        for reader in readers:
            check(await reader.get("/v1/pipelines"), done, may_be_paused=verb == "pause")
        done = await writer.post(f"{path}/resume")
        for reader in readers:
            check(await reader.get(f"{path}/status"), done, may_be_paused=False)


def check(answer: httpx.Response, done: httpx.Response, *, may_be_paused: bool) -> None:
    told = answer.json()
    summary = told["pipelines"][0] if "pipelines" in told else told["summary"]
    assert summary["revision"] == done.json()["revision"], summary
    assert summary["state"] != "paused" or may_be_paused, summary
    assert summary["state"] != "streaming" or summary["running_revision"] == summary["revision"], summary


async def snapshot_state(reader: httpx.AsyncClient, run: str) -> str:
    runs = (await reader.get("/v1/pipelines/shop/snapshots")).json()["runs"]
    return next((str(each["state"]) for each in runs if each["run"] == run), "unknown")


async def until(look: Any, wanted: str, *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while (found := await look()) != wanted:
        assert time.monotonic() < deadline, f"{found}, not {wanted}"
        await asyncio.sleep(0.05)


async def test_a_slot_that_somebody_else_reads_is_not_dropped(fleet: Fleet, world: World) -> None:
    world.sql(
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
    )
    ditto = await world.streaming()
    async with fleet.watching():
        fleet.start("n1", auth_tokens=AUTH)
        await fleet.live("n1")
        stored = await fleet.apply("shop", document(world), paused=True)
        await fleet.is_in("shop", "paused")
        async with client(fleet, "n1") as here:
            path, tag = "/v1/pipelines/shop?drop_slot=true", {"If-Match": f'"{stored.revision}"'}
            refused = await here.delete(path, headers=tag)
            assert (refused.status_code, refused.json()["code"]) == (409, 3), refused.text
            assert "is in use by another reader" in refused.json()["detail"]
            assert (await here.get("/v1/pipelines/shop")).json()["revision"] == stored.revision, "nothing has changed"
            assert await ditto.stop() == 0
            assert (await here.delete(path, headers=tag)).status_code == 200


async def test_without_the_control_plane_nothing_is_changed_and_everything_is_shown(
    fleet: Fleet, control_plane: NatsServer, world: World
) -> None:
    async with fleet.watching():
        fleet.start("n1", auth_tokens=AUTH)
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        url = fleet.node("n1").api_url
        control_plane.stop()
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as here:
            here.headers["Authorization"] = f"Bearer {TOKENS['admin']}"
            await until(lambda: readiness(here), "503")
            refused = await here.post("/v1/pipelines/shop/pause")
            assert (refused.status_code, refused.json()["code"]) == (503, 5)
            assert refused.json()["hint"]
            listed = (await here.get("/v1/pipelines")).json()["pipelines"]
            assert [each["name"] for each in listed] == ["shop"]
            assert not (await here.get("/v1/nodes")).json()["is_current"]
            assert (await here.get("/v1/pipelines/shop/status")).json()["status"]["process"]["state"] == "streaming"
            assert (await here.get("/healthz")).json() == {"node": "n1", "state": "cut off"}
            async with world.jetstream() as jetstream:
                await jetstream.delete_stream(world.stream)
            world.sql("CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders VALUES (1)")
            await until(lambda: shown(here), "failed")
            error = (await here.get("/v1/pipelines/shop/status")).json()["summary"]["error"]
            control_plane.start()
            await until(lambda: readiness(here), "200")
            assert await shown(here) == "failed"
            failed = await fleet.is_in("shop", "failed")
            assert failed.error is not None
            assert (failed.error.message, failed.error.hint) == (error["message"], error["hint"])
            assert (await here.post("/v1/pipelines/shop/pause")).status_code == 200


async def shown(here: httpx.AsyncClient) -> str:
    return str((await here.get("/v1/pipelines/shop/status")).json()["summary"]["state"])


async def readiness(here: httpx.AsyncClient) -> str:
    return str((await here.get("/readyz")).status_code)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ROLES)
async def test_requests_of_every_kind_against_a_real_node(fleet: Fleet, world: World, role: str) -> None:
    """What is asked for is carried out: pipelines come and go. The node stays, and says nothing unexpected."""
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    async with fleet.watching():
        node = fleet.start("n1", auth_tokens=AUTH, auth_allow_loopback="false")
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        url = fleet.node("n1").api_url
        schema = schemathesis.openapi.from_url(
            f"{url}/schema/openapi.json", config=expectations(), headers=headers(TOKENS[role])
        )
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            if operation.path.endswith(("/events", "/drain")):  # one has no end, the other one ends the test
                continue
            await asyncio.to_thread(hammer, operation, headers(TOKENS[role]))
        assert node.is_running
        assert not node.logs("http.failed")
        assert "Traceback" not in node.output


def hammer(operation: Any, given_headers: dict[str, Any]) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        if len(case.path_parameters.get("name", "")) % 2:
            case.path_parameters["name"] = "shop"
        case.call_and_validate(headers=given_headers)

    ask()
