"""The console of a fleet, without a browser: who is let in, and what the headers say."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.responses import HTMLResponse, PlainTextResponse

from ditto.api.fleet.auth import Authenticator, Identity
from ditto.console import gate as console_gate
from ditto.console.gate import SESSION, ConsoleGate
from ditto.console.headers import SafePages
from ditto.console.sessions import LONGEST_S, MOST, Sessions
from ditto.console.sign_in import inside, sign_in_page
from unit.fleet_fakes import TOKENS, FakeNode

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
