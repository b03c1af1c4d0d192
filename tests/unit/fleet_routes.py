"""Requests to the API of a node that is a fake: which routes there are, and what they answer."""

from __future__ import annotations

from typing import Any

import httpx

from ditto.monitoring.snapshot_status import RunStatus
from unit.fleet_fakes import DOCUMENT, FakeNode, client_of

READ = (
    ("GET", "/v1/pipelines"),
    ("GET", "/v1/pipelines/shop"),
    ("GET", "/v1/pipelines/shop/status"),
    ("GET", "/v1/pipelines/shop/history"),
    ("GET", "/v1/pipelines/shop/snapshots"),
    ("GET", "/v1/pipelines/shop/events"),
    ("GET", "/v1/nodes"),
    ("GET", "/metrics"),
)
OPERATE = (
    ("POST", "/v1/pipelines/shop/pause"),
    ("POST", "/v1/pipelines/shop/resume"),
    ("POST", "/v1/pipelines/shop/restart"),
    ("POST", "/v1/pipelines/shop/snapshots"),
    ("POST", "/v1/pipelines/shop/snapshots/run1/pause"),
    ("POST", "/v1/pipelines/shop/snapshots/run1/resume"),
    ("POST", "/v1/pipelines/shop/snapshots/run1/cancel"),
    ("POST", "/v1/nodes/n1/drain"),
)
ADMIN = (
    ("PUT", "/v1/pipelines/shop"),
    ("DELETE", "/v1/pipelines/shop"),
    ("POST", "/v1/pipelines/shop/rollback"),
    ("POST", "/v1/pipelines/shop/validate"),
)
NEEDED = {**dict.fromkeys(READ, "read"), **dict.fromkeys(OPERATE, "operate"), **dict.fromkeys(ADMIN, "admin")}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/pipelines/shop/snapshots"): {"tables": ["orders"]},
    ("PUT", "/v1/pipelines/shop"): {**DOCUMENT, "delivery": {"lease_ttl": "20s"}},
    ("POST", "/v1/pipelines/shop/rollback"): {"revision": 1},
}


async def filled() -> FakeNode:
    """With the pipeline `shop` at revision 1, whose run `run1` is being read."""
    node = FakeNode()
    await put(node, "shop", DOCUMENT)
    run = RunStatus(
        run="run1", kind="request", state="reading", requested_at="2026-01-01T00:00:00Z", where="name = 'hunter2'"
    )
    node.requests.runs["shop"] = [run]
    return node


async def put(node: FakeNode, name: str, document: dict[str, Any], **headers: str) -> httpx.Response:
    async with client_of(node) as client:
        return await client.put(f"/v1/pipelines/{name}", json=document, headers=headers or {"If-None-Match": "*"})


async def ask(
    node: FakeNode, method: str, path: str, *, role: str | None = "admin", body: Any = None, **headers: str
) -> tuple[int, Any]:
    """Status code and document."""
    async with client_of(node, role) as client:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await client.request(method, path, json=body, headers=given)
        assert "Traceback" not in answer.text
        return answer.status_code, answer.json() if "json" in answer.headers.get("content-type", "") else answer.text


def problem(found: tuple[int, Any]) -> tuple[int, str]:
    """Status code and class of a problem document, which is complete."""
    status, document = found
    assert document["status"] == status
    assert document.keys() == {"type", "title", "status", "detail", "hint", "code"}
    assert document["detail"]
    return status, document["type"].removeprefix("urn:ditto:error:")
