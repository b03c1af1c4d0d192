"""Snapshots over HTTP: who may ask, and what is refused before PostgreSQL is asked."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from ditto.api.server import serve_http
from ditto.config import load
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.monitoring.snapshot_status import RunStatus, TableStatus
from ditto.monitoring.status_client import over_http, snapshots_over_http
from ditto.pipeline.pipeline import Pipeline
from ditto.testing.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "a-token-of-the-test"
JSON = "Content-Type: application/json"
RUNS = [
    RunStatus(run="old", kind="initial", state="done", requested_at="2026-01-01T00:00:00Z"),
    RunStatus(
        run="one",
        kind="request",
        state="reading",
        requested_at="2026-01-02T00:00:00Z",
        tables=[
            TableStatus(schema="public", table="a", state="done", rows=7, estimated_rows=9),
            TableStatus(schema="public", table="b", state="reading", rows=100, estimated_rows=150, rows_per_s=10.5),
            TableStatus(schema="public", table="c", estimated_rows=50),
        ],
    ),
    RunStatus(run="two", kind="request", state="paused", requested_at="2026-01-03T00:00:00Z"),
]


@asynccontextmanager
async def server(
    *, listen: str = "127.0.0.1:0", state: str = "streaming", token: str | None = None
) -> AsyncIterator[int]:
    """Its port. PostgreSQL is nowhere."""
    environ = {"DITTO_POSTGRES_DSN": f"postgres://127.0.0.1:{free_port()}/shop"}
    if token is not None:
        environ["DITTO_HTTP_TOKEN"] = token
    config = load(None, {}, environ)
    pipeline = Pipeline(config=config)
    pipeline.counters.snapshots.runs += RUNS
    pipeline.states.enter(state, reason="the test says so")  # type: ignore[arg-type]
    with capture_logs() as logs:
        async with serve_http(listen, [PipelineMonitor(pipeline)], config.http):
            yield next(each["port"] for each in logs if each["event"] == "http.listening")


async def ask(port: int, path: str, *headers: str, method: str = "POST", body: str = "") -> tuple[int, Any]:
    """Status code and document."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    writer.write("\r\n".join([*lines, *headers, "", body]).encode())
    async with asyncio.timeout(10):
        answer = (await reader.read()).decode()
    writer.close()
    head, _, document = answer.partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(document)


async def test_the_runs_and_their_tables_are_told() -> None:
    async with server() as port:
        found = await asyncio.to_thread(snapshots_over_http, f"http://127.0.0.1:{port}")
        assert (found.state, found.knows_all, found.runs) == ("streaming", True, RUNS)
        assert found.runs[1].remaining_rows == 100
        status = await asyncio.to_thread(over_http, f"http://127.0.0.1:{port}")
        assert [(each.run, each.state, each.rows) for each in status.snapshots] == [
            ("one", "reading", 107),
            ("two", "paused", 0),
        ]
        assert (status.snapshots[0].table, status.snapshots[0].tables_ended) == ("public.b", 1)
        _, document = await ask(port, "/schema/openapi.json", method="GET")
        assert {"tables", "where", "max_rows_per_s"} == set(document["components"]["schemas"]["Start"]["properties"])


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
async def test_a_run_that_is_not_there_and_one_that_has_ended(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ditto.check.snapshot_asking.GRACE_S", 0.2)
    async with server() as port:
        code, answer = await ask(port, f"/v1/snapshots/none/{verb}", JSON)
        assert (code, answer["detail"].partition(":")[0]) == (404, "there is no run 'none'")
        assert (await ask(port, f"/v1/snapshots/old/{verb}", JSON))[0] == 409
    async with server(state="standby") as port:
        code, answer = await ask(port, f"/v1/snapshots/none/{verb}", JSON)
        assert code == 409
        assert "does not stream (standby)" in answer["detail"]


async def test_a_paused_run_is_not_paused_again_and_one_that_reads_not_resumed() -> None:
    async with server() as port:
        assert (await ask(port, "/v1/snapshots/two/pause", JSON))[1]["detail"] == "run two is paused already"
        assert (await ask(port, "/v1/snapshots/one/resume", JSON))[1]["detail"] == "run one is not paused"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "JSON"),
        ("", "JSON"),
        ("[]", "the body must be a mapping, not a list (its keys are tables, where, max_rows_per_s)"),
        ('{"tables": "trades"}', "tables"),
        ('{"table": ["trades"]}', "table is not a known key: did you mean tables? (Tables,"),
        ('{"max_rows_per_s": -1}', "max_rows_per_s"),
        ('{"max_rows_per_s": "many"}', "max_rows_per_s"),
        ('{"where": 1}', "where"),
    ],
)
async def test_a_body_that_makes_no_sense_is_answered_with_one_sentence(body: str, says: str) -> None:
    async with server() as port:
        code, answer = await ask(port, "/v1/snapshots", JSON, body=body)
        assert (code, set(answer)) == (400, {"status_code", "detail"}), answer
        assert says in answer["detail"]
        assert "\n" not in answer["detail"]


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with server() as port:
        assert (await ask(port, "/v1/snapshots", JSON, body=json.dumps({"where": "x" * 100_000})))[0] == 413


async def test_where_postgres_is_away() -> None:
    async with server() as port:
        for path, body in (("/v1/snapshots", "{}"), ("/v1/snapshots/one/pause", "")):
            code, answer = await ask(port, path, JSON, body=body)
            assert code == 503
            assert "cannot reach PostgreSQL" in answer["detail"]
            assert "Traceback" not in str(answer)


@pytest.mark.parametrize("path", ["/v1/snapshots", "/v1/snapshots/one/cancel"])
async def test_a_web_page_cannot_start_or_end_a_snapshot(path: str) -> None:
    """What a browser sends across origins without a question before it has one of these types, or none."""
    async with server() as port:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            assert (await ask(port, path, f"Content-Type: {kind}", body="{}"))[0] == 415
        assert (await ask(port, path, body="{}"))[0] == 415
        code, answer = await ask(port, path, "content-type: Application/JSON; charset=utf-8", body="{}")
        assert code == 503, answer


@pytest.mark.parametrize("listen", [":0", "0.0.0.0:0"])
async def test_without_a_token_only_this_machine_may_change_something(listen: str) -> None:
    async with server(listen=listen) as port:
        code, answer = await ask(port, "/v1/snapshots", JSON, body="{}")
        assert (code, "http.token" in answer["detail"]) == (403, True)
        assert (await ask(port, "/v1/snapshots/one/cancel", JSON))[0] == 403
        assert (await ask(port, "/v1/snapshots", method="GET"))[0] == 200
    async with server(listen=listen, token=TOKEN) as port:
        assert (await ask(port, "/v1/snapshots", JSON, body="{}"))[0] == 401
        assert (await ask(port, "/v1/snapshots", JSON, f"Authorization: Bearer {TOKEN}", body="{}"))[0] == 503
