"""The console of a fleet, without a browser: what the pages ask the API, and what they are made of."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import httpx
import pytest
from websockets.asyncio.client import connect

from ditto.api import connection_limits
from ditto.api.fleet.app import make_api
from ditto.api.fleet.auth import Identity, Role
from ditto.api.fleet.checking import check_document
from ditto.api.fleet.server import serve_fleet
from ditto.config import KEYS
from ditto.config.server import HttpTls
from ditto.console import charts, editor, mount, words, yaml_text
from ditto.console.courses import POINTS, STEP_S, Course, Courses, known, spark, total
from ditto.console.event_stream import ServerEvent, read_events
from ditto.console.fleet import Fleet
from ditto.console.in_process import Caller, InProcess
from ditto.console.key_reference import keys
from ditto.console.templates import TEMPLATES, filled
from ditto.console.words import NONE, lag, rate, wal_of_limit, wal_ratio
from ditto.errors import ConfigError, PipelineUnknown, RevisionConflict, RoleMissing
from ditto.fleet.node_metrics import PIPELINE_STATES
from ditto.monitoring.snapshot_status import RunState, TableState
from unit.fleet_fakes import DOCUMENT, ROLES, FakeNode, client_of, summary

ADMIN = Caller(Identity("anna", "admin"), "10.1.2.3")
READER = Caller(Identity("rita", "read"), "10.1.2.3")


# ------------------------------------------------------------------------------------------- the API, in process


def fleet_of(node: FakeNode) -> Fleet:
    return Fleet("n1", node.view, InProcess(make_api(node)))


async def test_pages_use_the_rules_of_the_api() -> None:
    fleet = fleet_of(FakeNode())
    applied = await fleet.apply(ADMIN, "shop", DOCUMENT, after=None)
    assert (applied.change.effect, applied.revision) == ("start", 1)
    with pytest.raises(RevisionConflict):
        await fleet.apply(ADMIN, "shop", {**DOCUMENT, "events": {}}, after=7)
    with pytest.raises(RoleMissing) as refused:
        await fleet.change(READER, "shop", "pause")
    assert refused.value.hint == "use a token with the role operate"
    with pytest.raises(PipelineUnknown):
        await fleet.read(READER, "other")
    await fleet.change(ADMIN, "shop", "pause")
    await fleet.rollback(ADMIN, "shop", 1, after=2)
    history = await fleet.history(READER, "shop")
    assert [(each.action, each.by) for each in history.revisions][-2:] == [("pause", "anna"), ("apply", "anna")]


@pytest.mark.parametrize("role", ROLES)
def test_the_editor_shows_what_the_role_may_see(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode()
    node.fill("shop", document={"webhook": {"url": "https://hooks.example.com/services/hunter2"}})
    given: list[Any] = []
    monkeypatch.setattr(editor, "Editor", lambda _visit, _name, document, **_: given.append(document))
    visit = SimpleNamespace(fleet=SimpleNamespace(view=node.view), may=Identity("rita", role).may)
    editor.change_editor(cast("Any", visit), "shop")
    shown = "https://hooks.example.com/***" if role == "read" else "https://hooks.example.com/services/hunter2"
    assert given == [{"webhook": {"url": shown}}]


@pytest.mark.parametrize(
    ("largest", "interval", "top"),
    [(0, 256, 256), (1024, 256, 1024), (400 * 1024**2, 128 * 1024**2, 512 * 1024**2), (3 * 2**30, 2**30, 3 * 2**30)],
)
def test_an_axis_of_bytes_has_round_numbers(largest: float, interval: float, top: float) -> None:
    assert charts.steps(largest) == {"interval": interval, "max": top}


def test_each_state_has_a_colour() -> None:
    style = (Path(words.__file__).parent / "style.css").read_text()
    states = {*PIPELINE_STATES, *get_args(RunState), *get_args(TableState), "live", "draining", "dead"}
    assert {each for each in states if f".s-{each}" not in style} == set()
    assert set(PIPELINE_STATES) <= set(words.ORDER)


async def test_a_document_is_checked_without_being_stored() -> None:
    node = FakeNode()
    with pytest.raises(ConfigError) as refused:
        await fleet_of(node).check(ADMIN, "shop", {**DOCUMENT, "evens": {}})
    assert "evens" in refused.value.message
    assert not node.store.revisions


async def test_an_answer_that_goes_on_ends_when_its_reader_leaves() -> None:
    ended = asyncio.Event()

    async def endless(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(10**9):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            if number > 5:
                assert (await receive())["type"] in {"http.request", "http.disconnect"}
                if (await receive())["type"] == "http.disconnect":
                    break
        ended.set()

    async with Fleet("n1", FakeNode().view, InProcess(endless)).events(ADMIN, "x", tables=[], actions=[]) as events:
        first = [await anext(events), await anext(events)]
    assert first == [ServerEvent("message", "0"), ServerEvent("message", "1")]
    await asyncio.wait_for(ended.wait(), 10)


async def test_events_arrive_in_any_parts() -> None:
    body = b': alive\n\nid: 7\nevent: change\ndata: {"a":\ndata: 1}\n\nevent: lost\r\ndata: x\r\n\r\n'

    async def bytewise() -> Any:
        for index in range(len(body)):
            yield body[index : index + 1]

    found = [each async for each in read_events(bytewise())]
    assert found == [ServerEvent("change", '{"a":\n1}'), ServerEvent("lost", "x")]


# ------------------------------------------------------------------------------------------- what pages are made of


def test_a_course_keeps_an_hour_and_leaves_gaps_empty() -> None:
    node, now = FakeNode(), 0.0
    node.fill("shop")
    courses = Courses(node.view, now=lambda: now)
    for step in [*range(POINTS + 40), POINTS + 42]:
        now = step * STEP_S
        node.view.summaries["shop"] = summary("shop", events_per_s=float(step), lag_s=0.5)
        courses.look()
        courses.look()
    course = courses.of("shop")
    numbers = known(course.events_per_s)
    assert len(numbers) == len(course.lag_s) == len(course.times()) == POINTS
    assert numbers[-4:] == [POINTS + 39, None, None, POINTS + 42]
    assert course.times()[-1] == (POINTS + 42) * STEP_S * 1000
    assert known(course.retained_bytes) == [None] * POINTS
    del node.store.revisions["shop"]
    node.fill("other")
    courses.look()
    assert len(courses.of("shop").lag_s) == 0


def test_a_course_begins_anew_after_a_long_absence() -> None:
    course = Course(0)
    course.add(0, summary("shop", lag_s=1.0))
    course.add(10**6, summary("shop", lag_s=2.0))
    assert known(course.lag_s)[-2:] == [None, 2.0]
    assert len(course.lag_s) == POINTS


def test_the_course_of_a_node_is_that_of_its_pipelines_together() -> None:
    first, second = Course(0), Course(0)
    for step in range(3):
        first.add(step, summary("a", events_per_s=1.0))
    second.add(2, summary("b", events_per_s=5.0))
    assert known(total([first, second]))[-4:] == [None, 1.0, 1.0, 6.0]
    assert known(total([]))[-1] is None


def test_a_line_leaves_out_what_is_not_known() -> None:
    assert spark([0.0, math.nan, 10.0], width=90, height=22, most=3) == "0.0,21.0 90.0,1.0"
    assert spark([]) == ""


def test_numbers_as_people_read_them() -> None:
    assert [rate(each) for each in (None, 0, 0.25, 12.4, 1234.0, 12345.0, 123456.0)] == [
        NONE, "0", "0.2", "12", "1,234", "12.3 k", "123 k"
    ]  # fmt: skip
    assert [lag(each) for each in (None, 0.0, 0.02, 312.0)] == [NONE, "0 s", "20 ms", "5 min"]
    half = summary("x", retained_bytes=2**30, safe_bytes=2**30)
    assert (wal_ratio(half), wal_of_limit(half)) == (0.5, "1 GB of 2 GB")
    assert wal_ratio(summary("x", retained_bytes=2**30)) is None
    assert wal_ratio(summary("x", retained_bytes=2**30, safe_bytes=-5)) == 1.0


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.title)
def test_each_template_is_a_configuration(template: Any) -> None:
    document = yaml_text.read(filled(template, "shop-eu"))
    [note] = check_document("shop-eu", document, {})
    assert "cannot resolve the reference" in note
    assert document["postgres"]["slot"] == "shop_eu"


def test_text_that_is_no_configuration_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match="line 2"):
        yaml_text.read("postgres:\n\tdsn: x")
    with pytest.raises(ConfigError, match="mapping"):
        yaml_text.read("- a")


def test_a_difference_is_escaped_and_shows_what_goes_and_comes() -> None:
    shown = yaml_text.difference("a: 1\nb: <x>\n", "a: 2\nb: <x>\n")
    assert "<del>-a: 1</del><ins>+a: 2</ins>" in shown
    assert "&lt;x&gt;" in shown
    assert yaml_text.difference("a: 1\n", "a: 1\n") == ""


def test_the_keys_are_those_of_the_schema() -> None:
    found = {each.path for each in keys()}
    expected = {path for path in KEYS if not path.startswith(("http.", "log."))}
    assert expected <= found
    assert all(each.about for each in keys())


def test_a_key_is_put_where_it_belongs() -> None:
    document: dict[str, Any] = {"postgres": {"dsn": "x"}, "events": None}
    yaml_text.put(document, "events.types.numeric", "text")
    assert document["events"] == {"types": {"numeric": "text"}}
    with pytest.raises(ConfigError, match="already"):
        yaml_text.put(document, "postgres.dsn", "y")


# ------------------------------------------------------------------------------------------- beside the API


async def test_without_the_extra_the_first_page_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount, "has_console", lambda: False)
    assert mount.websockets() == "none"
    async with mount.with_console(FakeNode()) as app:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://n1") as client:
            first = await client.get("/")
            assert first.status_code == 200
            assert "pip install 'ditto-cdc[console]'" in first.text
            assert (await client.get("/nodes")).status_code == 404
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/v1/pipelines")).status_code == 401


async def test_the_api_has_its_own_gate_beside_the_console() -> None:
    async with client_of(FakeNode(), None) as client:
        assert (await client.get("/v1/nodes")).status_code == 401


async def test_a_websocket_stays_open_for_longer_than_a_request_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "REQUEST_TIMEOUT_S", 0.3)

    async def echo(_: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            else:
                await send({"type": "websocket.send", "text": message["text"]})

    async with (
        serve_fleet(echo, "127.0.0.1:0", HttpTls(), websockets="websockets-sansio") as port,
        connect(f"ws://127.0.0.1:{port}/", proxy=None) as client,
    ):
        ends_at = asyncio.get_running_loop().time() + 1.0
        while asyncio.get_running_loop().time() < ends_at:
            await client.send("here")
            assert await client.recv() == "here"
            await asyncio.sleep(0.05)


def test_a_node_starts_without_anything_of_the_extra() -> None:
    """It brings these; and a node that nobody looks at does not load them."""
    program = (
        "import sys; import ditto.service.serve; "
        "print([each for each in ('nicegui', 'fastapi', 'starlette', 'pydantic', 'socketio') if each in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
