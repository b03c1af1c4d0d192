"""The API of a fleet: who may do what. The node is a fake, its application the real one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from unit.fleet_fakes import DOCUMENT, ROLES, TOKENS, FakeNode, client_of
from unit.fleet_routes import BODIES, NEEDED, ask, filled, problem, put


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_does_what_it_may_and_no_more(role: str) -> None:
    refused = [each for each, needed in NEEDED.items() if ROLES.index(role) < ROLES.index(needed)]
    node = await filled()
    before = dict(node.store.revisions)
    with capture_logs() as logs:
        for method, path in refused:
            found = await ask(node, method, path, role=role, body=BODIES.get((method, path)), If_Match='"1"')
            assert problem(found) == (403, "RoleMissing"), (method, path)
            assert NEEDED[method, path] in found[1]["hint"]
    assert node.store.revisions == before
    assert not node.requests.asked
    assert [(each["event"], each["client"]) for each in logs] == [("audit.refused", "10.1.2.3")] * len(refused)
    for method, path in NEEDED.keys() - set(refused):
        code, found = await ask(node, method, path, role=role, body=BODIES.get((method, path)), If_Match="*")
        assert code not in {401, 403}, (method, path, found)


def test_the_matrix_has_every_route() -> None:
    from ditto.api.fleet.app import make_app  # noqa: PLC0415

    gate: Any = make_app(FakeNode())
    routes = {
        (str(method), route.path)
        for route in gate._app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in handler.http_methods
        if method != "OPTIONS" and not route.path.startswith("/schema")
    }
    known = {
        (
            method,
            path.replace("shop", "{name:str}").replace("run1", "{run:str}").replace("n1/drain", "{name:str}/drain"),
        )
        for method, path in NEEDED
    }
    assert routes == known | {("GET", "/healthz"), ("GET", "/readyz")}


@pytest.mark.parametrize("role", [None, "a-wrong-token", TOKENS["admin"] + "x", ""])
async def test_without_a_known_token_nobody_is_let_in(role: str | None) -> None:
    async with client_of(await filled(), role) as client:
        for method, path in [*NEEDED, ("GET", "/schema/openapi.json"), ("GET", "/nothing")]:
            answer = await client.request(method, path)
            assert problem((answer.status_code, answer.json())) == (401, "TokenRefused"), path
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_probes_need_no_token_and_give_no_reasons() -> None:
    node = await filled()
    assert await ask(node, "GET", "/healthz", role=None) == (200, {"node": "n1", "state": "live"})
    assert (await ask(node, "GET", "/readyz", role=None))[0] == 200
    node.is_ready, node.state, node.reason = False, "cut off", "secret reason"
    assert await ask(node, "GET", "/readyz", role=None) == (503, {"node": "n1", "state": "cut off"})
    assert (await ask(node, "GET", "/healthz", role=None))[0] == 200


@pytest.mark.parametrize(
    ("address", "host", "headers", "is_let_in"),
    [
        ("127.0.0.1", "localhost:7480", {}, True),
        ("::1", "[::1]:7480", {}, True),
        ("::ffff:127.0.0.1", "127.0.0.1:7480", {}, True),
        ("10.1.2.3", "localhost:7480", {}, False),
        ("127.0.0.1", "n1.internal", {}, False),  # by a name that may be somebody else's
        ("127.0.0.1", "localhost", {"X-Forwarded-For": "1.2.3.4"}, False),  # through a proxy of this machine
        ("127.0.0.1", "localhost", {"Authorization": "Bearer wrong"}, False),
    ],
)
@pytest.mark.parametrize("is_allowed", [True, False])
async def test_only_this_machine_needs_no_token_and_only_where_that_is_configured(
    address: str, host: str, headers: dict[str, str], is_let_in: bool, is_allowed: bool
) -> None:
    node = FakeNode({"DITTO_AUTH_ALLOW_LOOPBACK": json.dumps(is_allowed)})
    async with client_of(node, None, address=address, host=host) as client:
        answer = await client.get("/v1/pipelines", headers=headers)
    assert answer.status_code == (200 if is_let_in and is_allowed else 401)


async def test_a_page_cannot_change_anything_by_a_request_that_is_no_json() -> None:
    node = FakeNode({"DITTO_AUTH_ALLOW_LOOPBACK": "true"})
    await put(node, "shop", DOCUMENT)
    async with client_of(node, None, address="127.0.0.1", host="localhost") as client:
        for name, value in (("Origin", "https://evil.example.com"), ("Sec-Fetch-Site", "cross-site")):
            for method, path in (("POST", "/v1/pipelines/shop/pause"), ("DELETE", "/v1/pipelines/shop")):
                sent = await client.request(method, path, headers={name: value, "If-Match": "*"})
                assert sent.status_code == 415, (name, method)
                assert "Content-Type" in sent.json()["hint"]
        sent = await client.post("/v1/pipelines/shop/pause", content="{}", headers={"Content-Type": "text/plain"})
        assert sent.status_code == 415
        sent = await client.post("/v1/pipelines/shop/pause", headers={"Content-Type": "application/json"})
        assert sent.status_code == 200
        assert (await client.post("/v1/pipelines/shop/resume")).status_code == 200, "curl sends no Origin"
        assert (await client.delete("/v1/pipelines/shop", headers={"If-Match": "*"})).status_code == 200
    await put(node, "shop", DOCUMENT)
    async with client_of(node, "operate") as client:  # a token is no cookie
        sent = await client.post("/v1/pipelines/shop/pause", headers={"Origin": "https://evil.example.com"})
        assert sent.status_code == 200


async def test_a_name_of_somebody_else_is_not_answered() -> None:
    node = FakeNode({"DITTO_HTTP_HOSTS": "ditto.example.com"})
    for host, code in (("evil.example.com", 421), ("ditto.example.com", 200), ("n1", 200), ("10.1.2.3:7480", 200)):
        async with client_of(node, host=host) as client:
            assert (await client.get("/v1/pipelines")).status_code == code, host
