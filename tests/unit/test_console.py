"""The console of a fleet, without a browser: who is let in, what the headers say, and what the pages are made of."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import httpx
import pytest
from starlette.responses import HTMLResponse, PlainTextResponse
from websockets.asyncio.client import connect

from ditto.api import connection_limits
from ditto.api.fleet.app import make_api
from ditto.api.fleet.auth import Authenticator, Identity, Role
from ditto.api.fleet.checking import check_document
from ditto.api.fleet.server import serve_fleet
from ditto.config import KEYS
from ditto.config.server import HttpTls
from ditto.console import charts, editor, mount, words, yaml_text
from ditto.console import gate as console_gate
from ditto.console.courses import POINTS, STEP_S, Course, Courses, known, spark, total
from ditto.console.event_stream import ServerEvent, read_events
from ditto.console.fleet import Fleet
from ditto.console.gate import SESSION, ConsoleGate
from ditto.console.headers import SafePages
from ditto.console.in_process import Caller, InProcess
from ditto.console.key_reference import keys
from ditto.console.sessions import LONGEST_S, MOST, Sessions
from ditto.console.sign_in import inside, sign_in_page
from ditto.console.templates import TEMPLATES, filled
from ditto.console.words import NONE, lag, rate, wal_of_limit, wal_ratio
from ditto.errors import ConfigError, PipelineUnknown, RevisionConflict, RoleMissing
from ditto.fleet.node_metrics import PIPELINE_STATES
from ditto.monitoring.snapshot_status import RunState, TableState
from unit.fleet_fakes import DOCUMENT, ROLES, TOKENS, FakeNode, client_of, summary

ADMIN = Caller(Identity("anna", "admin"), "10.1.2.3")
READER = Caller(Identity("rita", "read"), "10.1.2.3")
OWN = {"Origin": "https://n1:7480", "Sec-Fetch-Site": "same-origin"}


# ------------------------------------------------------------------------------------------- who is let in


def browser(node: FakeNode, *, address: str = "10.1.2.3", is_tls: bool = True) -> httpx.AsyncClient:
    """What a browser has of a page that tells whose session it is."""

    async def page(scope: Any, receive: Any, send: Any) -> None:
        session = scope[SESSION]
        text = "nobody" if session is None else f"{session.identity.name} {session.identity.role}"
        await PlainTextResponse(text)(scope, receive, send)

    gate: Any = ConsoleGate(
        page, Authenticator(node.config.auth), Sessions(), node="n1", hosts=node.config.http.hosts, is_tls=is_tls
    )
    transport = httpx.ASGITransport(gate, client=(address, 4000))
    return httpx.AsyncClient(transport=transport, base_url=f"http{'s' if is_tls else ''}://n1:7480")


async def sign_in(client: httpx.AsyncClient, token: str, **more: str) -> httpx.Response:
    return await client.post("/sign-in", data={"token": token, **more}, headers=OWN)


async def test_a_token_opens_a_session_whose_cookie_no_script_and_no_other_site_can_use() -> None:
    async with browser(FakeNode()) as client:
        answer = await sign_in(client, TOKENS["operate"], next="/nodes")
        assert (answer.status_code, answer.headers["location"]) == (303, "/nodes")
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert TOKENS["operate"] not in cookie
        assert (await client.get("/")).text == "operate operate"


async def test_without_tls_the_cookie_is_not_marked_secure() -> None:
    async with browser(FakeNode(), is_tls=False) as client:
        answer = await client.post("/sign-in", data={"token": TOKENS["read"]}, headers={"Origin": "http://n1:7480"})
        assert "Secure" not in answer.headers["set-cookie"]


async def test_a_wrong_token_opens_nothing_and_is_not_repeated() -> None:
    async with browser(FakeNode()) as client:
        answer = await sign_in(client, "ditto_wrong")
        assert answer.status_code == 401
        assert "ditto_wrong" not in answer.text
        assert "set-cookie" not in answer.headers
        assert (await client.get("/")).status_code == 303


async def test_pages_ask_to_sign_in_and_go_on_afterwards() -> None:
    async with browser(FakeNode()) as client:
        answer = await client.get("/pipelines/shop?tab=events")
        assert answer.headers["location"] == "/sign-in?next=%2Fpipelines%2Fshop%3Ftab%3Devents"
        assert 'value="/pipelines/shop?tab=events"' in (await client.get(answer.headers["location"])).text
        assert (await client.get("/_nicegui/x.js")).status_code == 401
        assert (await client.get("/console/style.css")).text == "nobody"


async def test_signing_out_ends_the_session() -> None:
    async with browser(FakeNode()) as client:
        await sign_in(client, TOKENS["admin"])
        assert (await client.post("/sign-out", headers=OWN)).headers["location"] == "/sign-in"
        assert (await client.get("/")).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://n1:7480", "Sec-Fetch-Site": "cross-site"},
        {},
    ],
)
async def test_a_page_of_elsewhere_can_neither_sign_in_nor_out(headers: dict[str, str]) -> None:
    async with browser(FakeNode()) as client:
        for path in ("/sign-in", "/sign-out"):
            answer = await client.post(path, data={"token": TOKENS["admin"]}, headers=headers)
            assert answer.status_code == 403


async def test_names_of_the_public_dns_are_refused() -> None:
    async with browser(FakeNode()) as client:
        assert (await client.get("/", headers={"Host": "evil.example"})).status_code == 421


@pytest.mark.parametrize(
    ("allows", "address", "host", "expected"),
    [
        ("true", "127.0.0.1", "localhost:7480", "loopback admin"),
        ("true", "10.1.2.3", "localhost:7480", ""),
        ("true", "127.0.0.1", "n1:7480", ""),
        ("false", "127.0.0.1", "localhost:7480", ""),
    ],
)
async def test_this_machine_needs_no_token_only_where_that_is_configured(
    allows: str, address: str, host: str, expected: str
) -> None:
    async with browser(FakeNode({"DITTO_AUTH_ALLOW_LOOPBACK": allows}), address=address) as client:
        answer = await client.get("/", headers={"Host": host})
        assert answer.text == expected
        assert (answer.status_code == 303) == (not expected)


@pytest.mark.parametrize("origin", ["https://evil.example", None])
async def test_a_websocket_of_another_page_is_closed(origin: str | None) -> None:
    node = FakeNode({"DITTO_AUTH_ALLOW_LOOPBACK": "true"})

    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    gate: Any = ConsoleGate(never, Authenticator(node.config.auth), Sessions(), node="n1", hosts=[], is_tls=False)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost:7480"), *([(b"origin", origin.encode())] if origin else [])]
    scope = {"type": "websocket", "path": "/_nicegui_ws/socket.io/", "headers": headers, "query_string": b""}
    await gate({**scope, "client": ("127.0.0.1", 4000)}, receive, send)
    assert [each["type"] for each in sent] == ["websocket.close"]


async def page_of(
    gate: Any, cookie: str, said: list[str], *, then: Callable[[], None] = lambda: None
) -> tuple[list[Any], list[Any]]:
    """What a page with this session says on its websocket, as the library hears it, and what it is answered."""
    coming = iter([{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": each} for each in said)])
    sent: list[Any] = []

    async def receive() -> Any:
        message = next(coming, {"type": "websocket.disconnect", "code": 1005})
        if message.get("text") == said[-1]:
            then()
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    heard: list[Any] = []
    headers = [(b"host", b"n1:7480"), (b"origin", b"https://n1:7480"), (b"cookie", cookie.encode())]
    scope = {"type": "websocket", "path": "/_nicegui_ws/socket.io/", "headers": headers, "query_string": b""}
    await gate({**scope, "client": ("10.1.2.3", 4000), "heard": heard}, receive, send)
    return heard, sent


async def listening(scope: Any, receive: Any, send: Any) -> None:
    """Stands for the library's end of a websocket."""
    while (message := await receive())["type"] != "websocket.disconnect":
        scope["heard"].append(message.get("text", message["type"]))


async def test_what_a_page_says_after_its_session_has_ended_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions()
    session = sessions.begin(Identity("anna", "admin"))
    gate: Any = ConsoleGate(
        listening, Authenticator(FakeNode().config.auth), sessions, node="n1", hosts=[], is_tls=True
    )
    cookie = f"ditto_session_7480={session.key}"
    heard, sent = await page_of(gate, cookie, ["first", "second"], then=lambda: sessions.end(session.key))
    assert (heard, sent) == (["websocket.connect", "first"], [])
    heard, sent = await page_of(gate, cookie, ["with a cookie that is not valid any more"])
    assert (heard, [each["type"] for each in sent]) == ([], ["websocket.close"])
    monkeypatch.setattr(console_gate, "_MOST_PAGES", 0)
    other = sessions.begin(Identity("anna", "admin"))
    heard, sent = await page_of(gate, f"ditto_session_7480={other.key}", ["one page too many"])
    assert (heard, [each["type"] for each in sent]) == ([], ["websocket.close"])


def test_sessions_end_by_time_and_by_number() -> None:
    now = 0.0
    sessions = Sessions(clock=lambda: now)
    first = sessions.begin(Identity("anna", "admin"))
    assert sessions.find(first.key) is first
    for _ in range(MOST):
        last = sessions.begin(Identity("ci", "read"))
    assert sessions.find(first.key) is None
    now = LONGEST_S
    assert sessions.find(last.key) is None
    assert sessions.find(None) is None


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:x", "", "/sign-out"]
)
def test_after_signing_in_nobody_is_sent_elsewhere(target: str) -> None:
    assert inside(target) == "/"


def test_what_is_asked_for_is_escaped_on_the_page() -> None:
    page = sign_in_page('<n1>"', then='/"><script>')
    assert "<script" not in page
    assert "<n1>" not in page


# ------------------------------------------------------------------------------------------- headers


async def answer_of(app: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://n1") as client:
        return await client.get("/")


async def test_a_page_has_a_policy_and_its_own_scripts_have_the_nonce() -> None:
    page = "<html><script>a()</script><script type=module>b()</script></html>"
    first, second = [await answer_of(SafePages(HTMLResponse(page))) for _ in range(2)]
    policy = first.headers["content-security-policy"]
    found = re.search(r"'nonce-([\w-]+)'", policy)
    assert found is not None
    assert first.text.count(f'<script nonce="{found[1]}"') == 2
    assert found[1] not in second.text
    parts = dict(each.split(" ", 1) for each in policy.split("; "))
    assert parts["default-src"] == parts["frame-ancestors"] == parts["base-uri"] == "'none'"
    assert "'unsafe-inline'" not in parts["script-src"]
    assert all("http" not in each and "*" not in each for each in parts.values())
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["x-frame-options"] == "DENY"
    assert int(first.headers["content-length"]) == len(first.content)


async def test_what_is_no_page_goes_on_as_it_is() -> None:
    answer = await answer_of(SafePages(PlainTextResponse("<script>")))
    assert answer.text == "<script>"
    assert "content-security-policy" in answer.headers


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
